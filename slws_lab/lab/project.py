"""A project opened for work: a study with its design, and where its runs and reports stand."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from slws_lab.errors import UserError
from slws_lab.reports import published
from slws_lab.reports.tables.reproduced import reproduced
from slws_lab.spec import Arm, Design, Resources, Study, expand, find_root, find_study, load_study, study_of_recipe
from slws_lab.spec.search_checks import check_search
from slws_lab.spec.trials import TrialArms, with_trials
from slws_lab.tracking import RunRecord, Workspace, record

if TYPE_CHECKING:
    from slws_lab.search.trial import Trial


def open_workspace(root: Path, given: Path | None = None) -> Workspace:
    """Return the workspace: the one given, else SLWS_WORKSPACE, else `.slws` in the root. It is not created."""
    named = given or (Path(os.environ["SLWS_WORKSPACE"]) if os.environ.get("SLWS_WORKSPACE") else None)
    return Workspace(_folder(named or root / ".slws", "the workspace"))


def _folder(path: Path, what: str) -> Path:
    """Return an absolute path that is a folder, or may become one."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{what} is not a folder", where=str(path), todo="name a folder")
    return path.absolute()


@dataclass(frozen=True)
class Project:
    """A study and its places.

    Attributes:
        study: The study as loaded.
        workspace: Where its runs are.
        reports: Folder in which its report's folder is made.
        trials: Of a search, what was tried when it was opened; its arms are the baseline and these.
        arms: Of a search, the arms that are known from an earlier look; None for none.
    """

    study: Study
    workspace: Workspace
    reports: Path
    trials: tuple[Trial, ...] = ()
    arms: TrialArms | None = None

    @classmethod
    def open(cls, study: str, workspace: Path | None = None, out: Path | None = None) -> Project:
        """Load a study by path or name; nothing is created.

        Raises:
            UserError: Any mistake in the study or its recipe.
        """
        return cls.of(load_study(find_study(study)), workspace, out)

    @classmethod
    def of_recipe(
        cls, recipe: Path, seed: int, workspace: Path | None = None, resources: Resources | None = None
    ) -> Project:
        """Make a study of one run out of a recipe."""
        return cls.of(study_of_recipe(recipe, seed, resources), workspace)

    @classmethod
    def of(cls, study: Study, workspace: Path | None = None, out: Path | None = None) -> Project:
        project = cls(study, open_workspace(study.root, workspace), _folder(out or study.root / "reports", "--out"))
        published(study.spec.report.references, study.source.where(("report", "references")))
        reproduced(study)
        if study.spec.search is not None:
            check_search(study)
            project = project.searched()
        _ = project.design  # so that every mistake in the study is found before anything else happens
        return project

    @cached_property
    def design(self) -> Design:
        if self.study.spec.search is None:
            return expand(self.study)
        arms = self.arms or TrialArms(self.study)
        tried: dict[str, list[Trial]] = {}
        for trial in self.trials:
            if trial.settings:
                tried.setdefault(arms.add(trial.number, trial.settings).id, []).append(trial)
        return replace(arms.design, arms=tuple(_told(arm, tried.get(arm.id, [])) for arm in arms.design.arms))

    def searched(self) -> Project:
        """Return the project of a search with what has been tried by now.

        Raises:
            UserError: The search's storage cannot be reached.
        """
        from slws_lab.search.book import Book  # Optuna is loaded for searches only

        trials = tuple(Book.of(self.study, self.workspace).trials())
        return self.with_trials(trials)

    def with_trials(self, trials: tuple[Trial, ...]) -> Project:
        """Return the project of a search with other trials."""
        study = with_trials(self.study, [trial.settings for trial in trials if trial.settings])
        return replace(self, study=study, trials=trials)

    @property
    def report_folder(self) -> Path:
        return self.reports / self.study.spec.name

    def record(self, run_id: str) -> RunRecord:
        """Read one run's record."""
        return record(self.workspace.run(run_id))


def _told(arm: Arm, trials: list[Trial]) -> Arm:
    """Return an arm of a search with what its trials say of it."""
    if not trials:
        return replace(arm, wanted=False)
    last = trials[-1]
    state = f"pruned at {max(last.curve, default=0)}" if last.state == "pruned" else last.state
    tags = {"trial": ", ".join(str(trial.number) for trial in trials), "trial_state": state}
    return replace(arm, tags=tags, wanted=last.state in ("running", "complete", "pruned", "failed"))


def here(workspace: Path | None = None) -> tuple[Path, Workspace]:
    """Return root and workspace for commands that name no study."""
    root = find_root(Path.cwd())
    return root, open_workspace(root, workspace)
