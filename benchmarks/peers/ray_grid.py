"""The grid by Ray Tune: two trials at a time on a Ray that is started for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = str(Path(__file__).parent)


def main(lrs: list[float], seeds: list[int], at_a_time: int, folder: str) -> None:
    import ray
    from ray import tune

    def trainable(config: dict[str, Any]) -> dict[str, float]:
        sys.path.insert(0, HERE)
        from train_once import train_once

        return {"top1": train_once(config["lr"], config["seed"])}

    ray.init(num_cpus=at_a_time, include_dashboard=False, logging_level="ERROR")
    space = {"lr": tune.grid_search(lrs), "seed": tune.grid_search(seeds)}
    tuner = tune.Tuner(trainable, param_space=space, run_config=tune.RunConfig(storage_path=folder, verbose=0))
    found = tuner.fit()
    assert len(found) == len(lrs) * len(seeds) and not found.errors
    ray.shutdown()


if __name__ == "__main__":
    main(
        [float(x) for x in sys.argv[1].split(",")],
        [int(x) for x in sys.argv[2].split(",")],
        int(sys.argv[3]),
        sys.argv[4],
    )
