"""Published tables run again: what to run, running it, a verdict per cell, the report."""
