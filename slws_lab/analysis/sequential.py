"""Seeds as needed: which contrasts are decided after each whole seed, and what each says. It runs nothing.

After every whole seed from the first look on, each undecided contrast is tested anew. Its p, corrected for all looks, is the
overall error of a rule that would just reject it there (`boundaries`), and Holm's correction over the family is applied to these. What is
decided stays so, and what it says is frozen at the look that decided it.

Source: the group-sequential Holm procedure, Ye, Li, Liu and Yao, Statistics in Medicine 32 (2013), 1112-1124.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from slws_lab.analysis.boundaries import last_level, overall_error, share
from slws_lab.analysis.contrast import Contrast, Look, Tested, judge
from slws_lab.analysis.families import Hypothesis, arm_names, families, pairs
from slws_lab.analysis.results import ResultTable
from slws_lab.analysis.statistics import Array, Paired, holm, paired

ENDED = ("finished", "diverged")


@dataclass(frozen=True)
class Standing:
    """How a study with seeds as needed stands.

    Attributes:
        looked: How many whole seeds the last look had; 0 before the first look.
        contrasts: What each contrast says, family by family.
        undecided: Those that further seeds are for; empty when all are decided, or no seed is left.
        allotted: Arm id -> how many seeds, counted from the first, the study wants of it so far: the first look's, and one
            more than the last look had where a contrast is undecided.
    """

    looked: int
    contrasts: tuple[Contrast, ...]
    undecided: tuple[Contrast, ...]
    allotted: dict[str, int]

    @property
    def needed(self) -> tuple[str, ...]:
        """Ids of the arms that need the next seed: those of the undecided contrasts and their references."""
        arms = dict.fromkeys(arm for c in self.undecided for arm in (c.reference, c.arm_id))
        return tuple(arms)


@dataclass(eq=False)
class Course:
    """A hypothesis on its way through the looks, as the last of them left it.

    Attributes:
        tested: As its verdict is based on it.
        p: The p of a difference and that of equivalence, corrected for all looks; 1 where there is no test.
        waits: Whether a run that failed keeps it from being looked at: no further seed is spent on it before that is mended.
    """

    tested: Tested
    p: tuple[float, float] = (1.0, 1.0)
    waits: bool = False

    @property
    def decided(self) -> bool:
        return self.tested.look is not None and self.tested.look.decided


@lru_cache(maxsize=4)
def standing(table: ResultTable, first: int) -> Standing:
    """Look at a study after each whole seed, from the first look on.

    A seed is whole when every run that it is for has ended, so nothing depends on which runs were quicker. A contrast with a failed
    run waits until that is mended, and counts as undecided meanwhile.

    Args:
        table: The results; its design holds all seeds that may be spent, in their order.
        first: How many seeds the first look has, at least 3.
    """
    rules, last = table.study.comparisons, len(table.design.seeds)
    nothing = Look(0, first, last, decided=False)
    each = [
        [Course(_untested(table, h, len(family), nothing)) for h in family]
        for family in families(table.design, rules.family)
    ]
    every = [course for family in each for course in family]
    looked = 0
    for seeds in range(first, last + 1):
        for course in every:
            course.waits = not course.decided and _failed(table, course, seeds)
        undecided = [course for course in every if not course.decided and not course.waits]
        if not undecided or not _whole(table, undecided, seeds):
            break
        looked = seeds
        for family in each:
            _look(table, family, Look(seeds, first, last, decided=False))
    left = [course for course in every if not course.decided and not course.waits] if looked < last else []
    names = arm_names(table.design)
    said = {id(course): judge(table, course.tested, names) for course in every}
    undecided_now = tuple(said[id(course)] for course in left)
    return Standing(looked, tuple(said.values()), undecided_now, _allotted(table, every, looked))


def allotment(table: ResultTable) -> dict[str, int]:
    """Return how many seeds, counted from the first, a study wants of each arm so far, by arm id."""
    if table.design.first_seeds is None:
        return {arm.id: len(table.design.seeds_of(arm.id)) for arm in table.design.arms}
    return standing(table, len(table.design.first_seeds)).allotted


def _allotted(table: ResultTable, courses: Sequence[Course], looked: int) -> dict[str, int]:
    assert table.design.first_seeds is not None, "only seeds as needed are allotted"
    found = dict.fromkeys((arm.id for arm in table.design.arms), len(table.design.first_seeds))
    for course in courses:
        look = course.tested.look
        assert look is not None, "every course is judged at a look"
        ended = look.decided or course.waits
        wanted = look.seeds if ended else min(max(looked + 1, look.first), look.last)
        for arm in _arms([course]):
            found[arm] = max(found[arm], wanted)
    return found


def level_at(seeds: int, alpha: float, first: int, last: int) -> float:
    """Return the level of one contrast's interval and test at a look: over all looks they err with chance alpha."""
    return last_level(alpha, first, last) * share(seeds, last)


def corrected_for_looks(p: float | None, seeds: int, first: int, last: int) -> float:
    """Return a p that was found at one look, corrected for all looks; 1 where there is none."""
    return 1.0 if p is None else overall_error(p / share(seeds, last), first, last)


def look_at(
    family: Sequence[Course],
    found: Sequence[tuple[tuple[int, ...], Array, Array]],
    look: Look,
    rules: tuple[float, float | None],
) -> None:
    """Test what is undecided in a family at one look, correct over the family, and note what is decided now.

    Args:
        family: All hypotheses that are corrected together, as the look before left them; changed in place.
        found: For each of them the seeds of its pairs, and the values of arm and reference at these, shape (pairs,).
        look: The look; `decided` is not read.
        rules: alpha, and the margin of equivalence or None.
    """
    alpha, margin = rules
    place = (look.seeds, look.first, look.last)
    level = level_at(look.seeds, alpha, look.first, look.last)
    undecided = [course for course in family if not course.decided and not course.waits]
    for course, (seeds, arm, reference) in zip(family, found, strict=True):
        if course.waits:
            course.p = (1.0, 1.0)
        if course in undecided:
            test = paired(arm, reference, level, margin)
            course.tested = replace(course.tested, seeds=seeds, test=test, level=level)
            course.p = (corrected_for_looks(test.p, *place), corrected_for_looks(test.p_equivalence, *place))
    adjusted = zip(family, *(holm([course.p[i] for course in family]) for i in (0, 1)), strict=True)
    for course, p, p_equivalence in adjusted:
        if course in undecided:
            test, decided = course.tested.test, min(p, p_equivalence) < alpha
            course.tested = replace(
                course.tested, look=replace(look, decided=decided), p=None if test.p is None else p,
                p_equivalence=None if test.p_equivalence is None else p_equivalence,
            )  # fmt: skip


def _untested(table: ResultTable, hypothesis: Hypothesis, family: int, look: Look) -> Tested:
    seeds, arm, reference = pairs(table, hypothesis, table.design.seeds)
    test = Paired(len(seeds), float((arm - reference).mean()) if seeds else None)
    return Tested(hypothesis, seeds, test, None, None, family, "holm", table.study.comparisons.alpha, look)


def _failed(table: ResultTable, course: Course, seeds: int) -> bool:
    return any(record.status == "failed" for arm in _arms([course]) for record in table.arm_records(arm)[:seeds])


def _whole(table: ResultTable, courses: Sequence[Course], seeds: int) -> bool:
    """Say whether all runs of the first seeds that these hypotheses need have ended."""
    return all(record.status in ENDED for arm in _arms(courses) for record in table.arm_records(arm)[:seeds])


def _arms(courses: Sequence[Course]) -> tuple[str, ...]:
    hypotheses = [course.tested.hypothesis for course in courses]
    return tuple(dict.fromkeys(arm for h in hypotheses for arm in (h.reference, h.arm_id)))


def _look(table: ResultTable, family: Sequence[Course], look: Look) -> None:
    rules, seeds = table.study.comparisons, table.design.seeds[: look.seeds]
    found = [pairs(table, course.tested.hypothesis, seeds) for course in family]
    look_at(family, found, look, (rules.alpha, rules.margin))
