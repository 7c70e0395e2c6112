"""How what follows a search looks on the terminal."""

from __future__ import annotations

from slws_lab.cli.terminal import line
from slws_lab.search.trial import Trial
from slws_lab.spec import Study, level_text, study_argument


def taken_apart(study: Study, trial: Trial) -> None:
    """Say where the ablation of a trial is and what to do with it."""
    settings = ", ".join(f"{name}={level_text(value)}" for name, value in trial.settings.items())
    word = study_argument(study.source.path)
    line(f"trial {trial.number}: {settings}")
    line(f"written: {study.source.path}")
    line(f"look at it: slws study show {word}; what it costs: slws plan {word}; run it: slws run {word}")
