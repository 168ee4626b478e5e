"""The `fanlight` command line: a local cluster, and a client for any cluster."""
