from training_runs import run_tiny

__all__ = ["run_tiny"]
