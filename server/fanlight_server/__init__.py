"""The shard server: keeps its part of every collection on disk, and searches it."""
