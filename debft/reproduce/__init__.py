"""This room runs a published table again: it plans, estimates, runs, judges and reports."""
