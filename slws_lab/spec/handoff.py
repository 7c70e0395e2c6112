"""What follows a search: its best settings once more, with seeds that it never saw, as an ordinary study. The ablation: `ablation`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from slws_lab.errors import UserError
from slws_lab.spec.expand import check_recipe
from slws_lab.spec.identity import digest
from slws_lab.spec.levels import Settings
from slws_lab.spec.load import Study
from slws_lab.spec.metric import Metric
from slws_lab.spec.objectives import Score
from slws_lab.spec.trials import space_of, with_trials

CONFIRM, LONGEST, SEEDS, SEEDS_END = "-confirm", 80, 5, 2**31


def fresh_seeds(study: Study, count: int) -> list[int]:
    """Return the smallest seeds above all of a search's.

    Raises:
        UserError: There are not so many.
    """
    first = max(study.spec.all_seeds) + 1
    if first + count > SEEDS_END:
        raise UserError(f"there are no {count} fresh seeds above {first - 1}", where=study.source.where(("seeds",)),
                        allowed=f"seeds below {SEEDS_END}", todo="give the search smaller seeds")  # fmt: skip
    return list(range(first, first + count))


def confirmation(study: Study, settings: Sequence[Settings], seeds: int | None = None) -> Study:
    """Return the study that runs a search's settings and its baseline again with seeds that the search never saw.

    It has no file of its own: places in it are those of the search. A budget of the search is spent by the search alone.

    Args:
        study: A study with `search:`, as loaded.
        settings: What to confirm: dimension to value each.
        seeds: How many seeds; None for what `confirm:` says.

    Raises:
        UserError: The name is too long, no seeds are left, or see `with_trials`.
    """
    search = study.spec.search
    if search is None:
        raise ValueError("confirming needs a study with `search:`")
    if len(study.spec.name) + len(CONFIRM) > LONGEST:
        raise UserError(f"the name is too long for its confirmation, <name>{CONFIRM}", where=study.source.where(("name",)),
                        allowed=f"at most {LONGEST - len(CONFIRM)} letters", todo="give the search a shorter name")  # fmt: skip
    count = seeds if seeds is not None else (search.confirm.seeds if search.confirm else SEEDS)
    given = with_trials(study, settings)
    changed = {
        "name": study.spec.name + CONFIRM,
        "question": f"Is what the search '{study.spec.name}' found really better, with seeds that it never saw?",
        "seeds": fresh_seeds(study, count),
        "metric": judged_by(study),
        "budget": None,
        "search": None,
    }
    return replace(given, spec=given.spec.model_copy(update=changed))


def known_as(study: Study) -> str:
    """Return what commands call a study: of a confirmation, which has no file of its own, its search's name."""
    name = study.spec.name
    searched = name.removesuffix(CONFIRM)
    return searched if searched != name and study.source.data.get("name") == searched else name


def judged_by(study: Study) -> Metric:
    """Return the metric by which what a search found is judged: its first objective's, where that is one, else the study's."""
    objective = study.spec.search.objectives[0] if study.spec.search else None
    return objective.of or study.spec.metric if isinstance(objective, Score) else study.spec.metric


def arm_ids(study: Study, settings: Sequence[Settings]) -> list[str]:
    """Return the id of each setting of a search: settings that are the same training share one.

    Args:
        study: A study with `search:`, as loaded.
        settings: Dimension to value each; what one leaves out is the baseline's.
    """
    ordinary = with_trials(study, [])
    space = space_of(ordinary)
    return [digest(check_recipe(ordinary, space.settle(one))) for one in settings]
