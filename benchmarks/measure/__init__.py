"""What is measured: one module a section, each of which gives JSON values."""
