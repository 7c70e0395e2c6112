"""What MLflow is told of a study's outcome: the answer and the table for people, tags to filter by, and which run is the best."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from slws_lab.analysis import VERDICTS, ResultTable, contrasts
from slws_lab.lab.project import Project
from slws_lab.reports import TableView, answer, main_view, to_markdown
from slws_lab.spec import CommandRun, total_epochs
from slws_lab.tracking import Attempt
from slws_lab.tracking.mirror import default_uri
from slws_lab.tracking.mirror_content import BEST_RUN, MAX_TEXT, NOTE
from slws_lab.tracking.mirror_model import Weights
from slws_lab.tracking.mirror_store import is_http


@dataclass(frozen=True)
class Telling:
    """What is told of a study.

    Attributes:
        tags: Of its parent run; the note, MLflow's description, is one of them.
        best: The attempt of the best run that counts; None where no run has finished, or a command has left no model that is ours.
        weights: The weights that the metric is about.
    """

    tags: dict[str, str]
    best: Attempt | None
    weights: Weights


def telling(project: Project) -> Telling:
    """Return what MLflow is told of a study as it stands.

    Raises:
        UserError: A search's storage cannot be reached.
    """
    table = ResultTable.of(project.study, project.design, project.workspace)
    said, views = (
        _search(project, table) if project.study.spec.search is not None else (answer(table), [main_view(table)])
    )
    best = best_run(table)
    verdicts = Counter(contrast.verdict for contrast in contrasts(table))
    tags = {
        "slws.answer": said,
        "slws.verdicts": ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in VERDICTS if verdicts[verdict]),
        BEST_RUN: best,
        NOTE: _note(project, said, views, best),
    }
    attempt = project.workspace.run(best).chosen() if best else None
    trained = attempt is not None and not isinstance(project.workspace.run(best).spec(), CommandRun)
    weights: Weights = "ema" if table.study.metric.weights == "ema" else "last"
    return Telling({name: text for name, text in tags.items() if text}, attempt if trained else None, weights)


def best_run(table: ResultTable) -> str:
    """Return the id of the run with the best value of the study's metric, of equals the first; empty where none has finished."""
    metric = table.study.metric
    values = {run_id: record.value(metric) for run_id, record in table.records.items()}
    found = {run_id: value for run_id, value in values.items() if value is not None and math.isfinite(value)}
    choose = max if metric.goal == "maximize" else min
    return choose(found, key=found.__getitem__, default="")


def _note(project: Project, said: str, views: Sequence[TableView], best: str) -> str:
    """Return the question, the answer, where report and best run are, and the table as far as there is room for it, in Markdown."""
    name = project.study.spec.name
    own = not is_http(default_uri(project.workspace))  # whose UI is `slws ui`, which knows these addresses
    report = (
        f"[report.html](/slws/reports/{name}/report.html)" if own else "report/report.html among this run's artifacts"
    )
    model = f"best run: [{best}](/slws/runs/{best}?study={name})" if own else f"best run: {best}"
    head = f"{project.study.spec.question}\n\n**{said}**\n\n" + " · ".join(
        [f"report: {report}", *([model] if best else [])]
    )
    whole = "\n\n".join([head, *(to_markdown(replace(view, title="Results")) for view in views)])
    return whole if len(whole) <= MAX_TEXT else head


def _search(project: Project, table: ResultTable) -> tuple[str, list[TableView]]:
    """Return the answer of a search and its table."""
    from slws_lab.lab.standing import Standing  # Optuna takes long to load
    from slws_lab.reports.search import words as search_words
    from slws_lab.reports.search.tables import best_view
    from slws_lab.search.findings import findings

    baseline = project.design.arms[0]
    epochs = total_epochs(baseline.recipe)
    found = findings(project.trials, project.study.spec, baseline=baseline.settings, epochs=epochs)
    again = Standing.of(project).confirming
    gaps = again.gaps() if again is not None else []
    return search_words.answer(found, table.study, gaps), [best_view(found, table)]
