"""VectorDBBench's view of Fanlight; see README.md beside this package."""
