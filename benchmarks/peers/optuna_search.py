"""The search by plain Optuna: processes that each call `study.optimize` on one SQLite storage.

As Optuna's manual says for parallel workers; each has a seed of its own, since with one seed all would draw the same first trials.
"""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from search_once import BASELINE, PAPER, suggest, train_once

NAME = "search"


def work(storage: str, seed: int, trials: int, epochs: int, warmup: int) -> None:
    """Draw and train until there are so many trials."""
    import optuna

    def objective(trial: optuna.Trial) -> float:
        def watch(epoch: int, value: float) -> None:
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        return train_once(suggest(trial), epochs, watch)

    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=warmup)
    study = optuna.load_study(study_name=NAME, storage=storage, sampler=sampler, pruner=pruner)
    study.optimize(objective, callbacks=[optuna.study.MaxTrialsCallback(trials, states=None)])


def main(trials: int, epochs: int, warmup: int, at_a_time: int, folder: Path) -> None:
    import optuna

    storage = f"sqlite:///{folder / 'optuna.db'}"
    study = optuna.create_study(study_name=NAME, storage=storage, direction="maximize")
    for settings in (BASELINE, PAPER):
        study.enqueue_trial(settings)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(storage, i, trials, epochs, warmup)) for i in range(at_a_time)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(worker.exitcode == 0 for worker in workers)


if __name__ == "__main__":
    main(*(int(x) for x in sys.argv[1:5]), Path(sys.argv[5]))  # type: ignore[arg-type]
