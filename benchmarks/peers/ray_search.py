"""The search by Ray Tune: its OptunaSearch and its median stopping rule, so many trials at a time on a Ray that is started for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from search_once import BASELINE, METRIC, PAPER, suggest

HERE = str(Path(__file__).parent)


def main(trials: int, epochs: int, warmup: int, at_a_time: int, folder: Path) -> None:
    import optuna
    import ray
    from ray import tune
    from ray.tune.schedulers import MedianStoppingRule
    from ray.tune.search.optuna import OptunaSearch

    def trainable(config: dict[str, Any]) -> None:
        sys.path.insert(0, HERE)
        from search_once import METRIC, train_once

        train_once(config, epochs, lambda _, value: tune.report({METRIC: value}))

    ray.init(num_cpus=at_a_time, include_dashboard=False, logging_level="ERROR")
    sampler = optuna.samplers.TPESampler(seed=0, constant_liar=True)
    search = OptunaSearch(suggest, metric=METRIC, mode="max", points_to_evaluate=[BASELINE, PAPER], sampler=sampler)
    rule = MedianStoppingRule(
        time_attr="training_iteration", metric=METRIC, mode="max", grace_period=warmup, min_samples_required=5
    )
    config = tune.TuneConfig(
        search_alg=search, scheduler=rule, num_samples=trials, max_concurrent_trials=at_a_time, reuse_actors=True
    )
    tuner = tune.Tuner(
        trainable, tune_config=config, run_config=tune.RunConfig(storage_path=str(folder / "ray"), verbose=0)
    )
    found = tuner.fit()
    assert len(found) == trials and not found.errors
    ray.shutdown()


if __name__ == "__main__":
    main(*(int(x) for x in sys.argv[1:5]), Path(sys.argv[5]))  # type: ignore[arg-type]
