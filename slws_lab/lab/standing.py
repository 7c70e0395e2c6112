"""How a search stands: what was tried, whether it is at its end, and how far its confirmation is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from slws_lab.lab.confirming import Confirming, confirming
from slws_lab.lab.planning import Plan, plan
from slws_lab.lab.project import Project
from slws_lab.lab.spending import Purse
from slws_lab.search.book import Book
from slws_lab.search.trial import Trial, best
from slws_lab.spec import SearchSpec
from slws_lab.spec.objectives import Goal, goal_of


@dataclass(frozen=True)
class Standing:
    """A search as it stands.

    Attributes:
        project: The search, with its trials.
        ended: Why no further trial is drawn; empty while one is.
    """

    project: Project
    ended: str

    @classmethod
    def of(cls, project: Project) -> Standing:
        """Read how a search stands by now.

        Raises:
            UserError: Its storage cannot be reached.
        """
        now = project.searched()
        ended = Book.of(now.study, now.workspace).end(now.trials)
        purse = Purse.of(now)
        if not ended and purse is not None and now.trials and purse.look(0):
            ended = "the budget"
        return cls(now, ended)

    @property
    def search(self) -> SearchSpec:
        assert self.project.study.spec.search is not None
        return self.project.study.spec.search

    @property
    def trials(self) -> tuple[Trial, ...]:
        return self.project.trials

    @property
    def running(self) -> tuple[Trial, ...]:
        """The trials that have not ended: at work, or left by a driver that died."""
        return tuple(trial for trial in self.trials if trial.state == "running")

    @property
    def over(self) -> bool:
        """Whether every trial that the search wants has ended."""
        return bool(self.ended) and not self.running

    @property
    def counts(self) -> Counter[str]:
        """How many trials are in each state."""
        return Counter(trial.state for trial in self.trials)

    @property
    def goals(self) -> list[Goal]:
        return [goal_of(objective, self.project.study.spec.metric) for objective in self.search.objectives]

    @property
    def best(self) -> list[Trial]:
        """The trials with values, the best first by the first objective."""
        return best(self.trials, self.goals[0], len(self.trials))

    @cached_property
    def confirming(self) -> Confirming | None:
        """What is confirmed; None while the search goes on, and where nothing is to be."""
        return confirming(self.project, self.trials) if self.over and self.search.confirm else None

    @cached_property
    def confirmation(self) -> Plan | None:
        """How the confirmation's runs stand. See `confirming`."""
        return plan(self.confirming.project) if self.confirming else None

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do: also failed trials are, for the same command tries them again."""
        failed = any(t.state == "failed" and t.again is None and t.cause.startswith("failed:") for t in self.trials)
        to_come = any(
            t.again is not None and t.again >= len(self.trials) for t in self.trials
        )  # enqueued, not drawn yet
        return self.over and not failed and not to_come and (self.confirmation is None or not self.confirmation.todo)
