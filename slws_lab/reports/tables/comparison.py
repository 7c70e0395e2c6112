"""Two studies side by side as tables: their designs, the arms that both have, verdicts that differ, costs, and what made their runs."""

from __future__ import annotations

from markupsafe import Markup

from slws_lab.analysis import Contrast, Estimate, ResultTable
from slws_lab.analysis.costs import Cost
from slws_lab.reports import wording
from slws_lab.reports.comparison import Comparison, Pair, Setting
from slws_lab.reports.formats import html_templates, to_csv, to_html, to_latex, to_markdown
from slws_lab.reports.page.page import assets
from slws_lab.reports.tables.cells import cell, pair_runs, verdict_cell
from slws_lab.reports.view import Cell, Column, Group, TableView
from slws_lab.spec import Arm

NAMED = 3  # changed fields named in a cell
MARKS = "†‡§¶"
NONE = Cell(wording.NOTHING, faint=True)


def comparison_views(found: Comparison) -> list[TableView]:
    """Return the tables of a comparison; one that has nothing to show is its note alone."""
    return [designs_view(found), arms_view(found), verdicts_view(found), costs_view(found), origins_view(found)]


def comparison_files(found: Comparison) -> dict[str, bytes]:
    """Return a comparison as files: all tables as Markdown, LaTeX and one HTML page, each also as CSV."""
    views, label = comparison_views(found), f"slws:{found.first.name}-{found.second.name}".replace(" ", "-")
    texts = {
        "comparison.md": "\n".join([f"{summary(found)}\n", *map(to_markdown, views)]),
        "comparison.tex": "\n".join(to_latex(view, f"{label}-{view.name}") for view in views if view.rows),
        "comparison.html": _page(found, views),
        **{f"{view.name}.csv": to_csv(view) for view in views if view.rows},
    }
    return {name: text.encode() for name, text in texts.items()}


def summary(found: Comparison) -> str:
    """Say in a few sentences what the two studies share and where they disagree."""
    one, other = (side.name for side in found.sides)
    alone = found.alone
    said = [f"{one} and {other} share {_shared(found)}{len(alone[0])} only in {one}, {len(alone[1])} only in {other}."]
    if not found.comparable:
        titles = [wording.metric_title(table.study.metric) for table in found.tables]
        said.append(f"Their metrics differ ({titles[0]} and {titles[1]}), so no difference between values is shown.")
    if found.judged:
        many, changed = wording.plural(len(found.judged), "comparison"), len(found.overturned)
        said.append(f"Of {many} that both make, {changed} {'has' if changed == 1 else 'have'} another verdict.")
    marked = sum(bool(pair.beside) for pair in found.pairs)
    if marked:
        said.append(f"In {wording.plural(marked, 'shared arm')} the runs also differ in what no study declares.")
    return " ".join(said)


def designs_view(found: Comparison) -> TableView:
    """Return in what the designs differ."""
    notes = () if found.settings else ("The designs do not differ.",)
    return _settings_view("designs", "In what the studies differ", found, found.settings, notes)


def origins_view(found: Comparison) -> TableView:
    """Return in what the origins of the runs differ: code, packages, data, machine."""
    notes = () if found.made_by else ("The runs of both were made by the same code, packages, data and machine.",)
    return _settings_view("origins", "In what the origins of their runs differ", found, found.made_by, notes)


def arms_view(found: Comparison) -> TableView:
    """Return every arm with what it reached in each study, those that both have first."""
    return _Arms(found).view()


def verdicts_view(found: Comparison) -> TableView:
    """Return the comparisons that both studies make and judge differently."""
    rows = tuple(_verdict_row(found, pair) for pair in found.overturned)
    same = len(found.judged) - len(rows)
    notes = [
        f"{wording.plural(same, 'comparison')} that both make {'has' if same == 1 else 'have'} the same verdict in both."
    ]
    if not found.judged:
        notes = ["There is no comparison that both make."]
    if not rows:
        return TableView("verdicts", "Verdicts that differ", (), (), tuple(notes))
    notes.append("Each verdict is of its own study: its seeds, its family of comparisons, its rules.")
    own = [
        Column(name, numeric, over=side.name)
        for side in found.sides
        for name, numeric in (("pairs", True), (_interval_title(side.table), True), ("verdict", False))
    ]
    return TableView("verdicts", "Verdicts that differ", (Column("arm"), Column("against"), *own), rows, tuple(notes))


def costs_view(found: Comparison) -> TableView:
    """Return what the runs of each study cost."""
    columns = (
        Column("study"), Column("arms", True), Column("runs with a result", True), Column("device-hours", True),
        Column("s a run", True), Column("images/s", True), Column("attempts lost", True),
    )  # fmt: skip
    rows = tuple(_cost_row(side.name, own) for side, own in zip(found.sides, found.costs, strict=True))
    one, other = ({r.run_id for r in table.records.values() if r.done} for table in found.tables)
    shared = {run_id for run_id in one & other if found.same_run(run_id)}
    notes = [f"{wording.plural(len(shared), 'run')} of these stand in both and were paid once."] if shared else []
    return TableView("costs", "What their runs cost", columns, rows, tuple(notes))


class _Arms:
    """The table of arms while it is made: its marks and their notes grow with the rows."""

    def __init__(self, found: Comparison) -> None:
        self.found, self.notes = found, dict[str, str]()
        self.names = [wording.arm_names(table.design) for table in found.tables]
        self.places = [wording.decimals(table.study.metric) for table in found.tables]

    def view(self) -> TableView:
        found, rows, groups = self.found, list[tuple[Cell, ...]](), list[Group]()
        one, other = (side.name for side in found.sides)
        for title, pairs in (
            ("The same training in both", [pair for pair in found.pairs if pair.training]),
            ("Alike in all that either study varies", [pair for pair in found.pairs if not pair.training]),
        ):
            groups += [Group(len(rows), title)] if pairs else []
            rows += map(self.row, pairs)
        for i, name in enumerate((one, other)):
            groups += [Group(len(rows), f"Only in {name}")] if found.alone[i] else []
            rows += [self.lone_row(i, arm) for arm in found.alone[i]]
        return TableView("arms", f"{one} beside {other}", self.columns(), tuple(rows), self.all_notes(), tuple(groups))

    def columns(self) -> tuple[Column, ...]:
        found = self.found
        own = [
            Column(name, True, over=side.name)
            for side in found.sides
            for name in ("n", f"{wording.metric_title(side.table.study.metric)}, mean ± sd")
        ]
        level = f"{wording.level(found.first.table.study)} interval"
        delta = wording.delta_title(found.first.table.study.metric, level, "Δ, second − first")
        between = [Column("pairs", True), Column(delta, True)] if found.comparable else []
        return (Column("arm"), *own, *between, Column("what differs"))

    def row(self, pair: Pair) -> tuple[Cell, ...]:
        runs = tuple(
            table.design.run_ids[arm.id, seed]
            for table, arm in zip(self.found.tables, pair.arms, strict=True)
            for seed in pair.seeds
        )
        own = [c for i in (0, 1) for c in self.reached(i, pair.arms[i], pair.estimates[i])]
        mark = self.mark(pair)
        between = [Cell(str(len(pair.seeds)), runs), self.delta(pair, runs)] if self.found.comparable else []
        return (Cell(self.names[0][pair.arms[0].id]), *own, *between, Cell(_what(pair), runs, mark=mark))

    def lone_row(self, side: int, arm: Arm) -> tuple[Cell, ...]:
        own = self.reached(side, arm, self.found.estimate(side, arm))
        sides = [*own, NONE, NONE] if side == 0 else [NONE, NONE, *own]
        return (Cell(self.names[side][arm.id]), *sides, *([NONE, NONE] if self.found.comparable else []), NONE)

    def reached(self, side: int, arm: Arm, estimate: Estimate) -> tuple[Cell, Cell]:
        table, places = self.found.tables[side], self.places[side]
        runs = tuple(table.design.run_ids[arm.id, seed] for seed in table.values[arm.id].dropna().index)
        spread = f" ± {wording.number(estimate.sd, places)}" if estimate.sd is not None else ""
        return cell(str(estimate.n), runs), cell(wording.number(estimate.mean, places) + spread, runs)

    def delta(self, pair: Pair, runs: tuple[str, ...]) -> Cell:
        if pair.runs:
            return Cell("the same runs", runs, faint=True)
        if pair.test is None or pair.test.delta is None:
            return NONE
        even = "" if pair.test.spread or pair.test.n < 2 else " at every seed"  # then there is no interval
        return Cell(_sized(pair.test.delta, pair.test.low, pair.test.high, self.places[0]) + even, runs)

    def mark(self, pair: Pair) -> str:
        """Return the mark of what else the runs of a pair differ in; arms of which the same is said share it."""
        if not pair.beside:
            return ""
        said = "; ".join(dict.fromkeys(f"{one.field} {one.values[0]} and {one.values[1]}" for one in pair.beside))
        taken = len(self.notes)
        mark = MARKS[taken % len(MARKS)] * (taken // len(MARKS) + 1)
        return self.notes.setdefault(said, mark)

    def all_notes(self) -> tuple[str, ...]:
        found = self.found
        notes = [f"{mark} The runs also differ in what no study declares: {said}" for said, mark in self.notes.items()]
        if not found.comparable:
            notes.append("The studies are about different metrics, so there is no difference between their values.")
        elif any(pair.test is not None and pair.test.low is not None and not pair.runs for pair in found.pairs):
            notes.append(
                "Differences are paired by seed. Their intervals are each of its own arm, not corrected, and no verdicts."
            )
        if not found.pairs:
            notes.append("The studies share no arm.")
        return tuple(notes)


def _shared(found: Comparison) -> str:
    """Say how many arms both have, and how many of these are one training, or even the same runs."""
    arms = wording.plural(len(found.pairs), "arm")
    training, runs = (sum(getattr(pair, name) for pair in found.pairs) for name in ("training", "runs"))
    if not training:
        return f"{arms}, {'with other recipes; ' if found.pairs else ''}"
    which = "from the same runs" if runs == training else f"{runs} from the same runs" if runs else "executed twice"
    return f"{arms}: {training} the same training, {which}; "


def _page(found: Comparison, views: list[TableView]) -> str:
    looks = assets("report.css", "comparison.css")
    return html_templates().get_template("comparison.html.j2").render(
        names=[side.name for side in found.sides], summary=summary(found), style=looks["style"],
        style_hash=looks["style_hash"], tables=[Markup(to_html(view)) for view in views],
    )  # fmt: skip


def _settings_view(
    name: str, title: str, found: Comparison, settings: tuple[Setting, ...], notes: tuple[str, ...]
) -> TableView:
    rows = tuple((Cell(one.name), Cell(one.texts[0]), Cell(one.texts[1])) for one in settings)
    columns = (Column("what"), *(Column(side.name) for side in found.sides)) if rows else ()
    return TableView(name, title, columns, rows, notes)


def _what(pair: Pair) -> str:
    if pair.training and not pair.seeds:
        return "no common seed"
    if pair.training:
        return "nothing: the same runs" if pair.runs else "executed twice"
    more = f" and {len(pair.changed) - NAMED} more" if len(pair.changed) > NAMED else ""
    return ", ".join(pair.changed[:NAMED]) + more


def _verdict_row(found: Comparison, pair: tuple[Contrast, Contrast]) -> tuple[Cell, ...]:
    names = wording.arm_names(found.first.table.design)
    own: list[Cell] = []
    for side, contrast in zip(found.sides, pair, strict=True):
        runs = pair_runs(side.table, contrast)
        places = wording.decimals(side.table.study.metric)
        sized = (
            wording.NOTHING if contrast.delta is None else _sized(contrast.delta, contrast.low, contrast.high, places)
        )
        own += [Cell(str(contrast.n), runs), cell(sized, runs), verdict_cell(contrast, runs)]
    return (Cell(names[pair[0].arm_id]), Cell(names[pair[0].reference]), *own)


def _sized(delta: float, low: float | None, high: float | None, places: int) -> str:
    ends = "" if low is None else f" [{wording.signed(low, places)}, {wording.signed(high, places)}]"
    return wording.signed(delta, places) + ends


def _interval_title(table: ResultTable) -> str:
    return wording.delta_title(table.study.metric, "interval")


def _cost_row(name: str, own: tuple[Cost, ...]) -> tuple[Cell, ...]:
    done = tuple(run_id for cost in own for run_id in cost.run_ids)
    hours = [cost.device_hours for cost in own if cost.device_hours is not None]
    seconds = [(cost.run_seconds, len(cost.run_ids)) for cost in own if cost.run_seconds is not None]
    speeds = [(cost.images_per_s, len(cost.run_ids)) for cost in own if cost.images_per_s is not None]
    texts = (
        str(len(done)), f"{sum(hours):.3g}" if hours else wording.NOTHING, _mean(seconds, 1), _mean(speeds, 0),
        str(sum(cost.lost_attempts for cost in own)),
    )  # fmt: skip
    return (Cell(name), Cell(str(len(own))), *(cell(text, done) for text in texts))


def _mean(weighted: list[tuple[float, int]], places: int) -> str:
    """Return the mean over runs of what is known by arm."""
    runs = sum(count for _, count in weighted)
    return f"{sum(value * count for value, count in weighted) / runs:,.{places}f}" if runs else wording.NOTHING
