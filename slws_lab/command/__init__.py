"""Anybody's training command: what is executed, the process that it becomes, and the metrics that it gives. Knows no torch."""
