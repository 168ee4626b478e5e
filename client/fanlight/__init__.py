"""Fanlight: a gRPC sharded vector search engine. This package is its client."""
