"""The grid by Hydra's multirun with the joblib launcher, whose workers stay warm."""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

sys.path.insert(0, str(Path(__file__).parent))

from train_once import train_once


@hydra.main(version_base=None, config_path=None, config_name="config")
def main(config: DictConfig) -> float:
    return train_once(float(config.lr), int(config.seed))


if __name__ == "__main__":
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="config", node={"lr": 0.001, "seed": 0})
    main()
