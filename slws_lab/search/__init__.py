"""Searching with Optuna: what to try next, what to end early, what was found. The loop that runs the trials is in `lab`."""
