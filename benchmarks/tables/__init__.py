"""Tables of a run, one module a section."""
