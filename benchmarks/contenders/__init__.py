"""The engines that are measured side by side: one module each, behind one protocol."""
