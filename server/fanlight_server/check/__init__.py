"""Checks the data directory of a shard that does not run: `fanlight check`."""
