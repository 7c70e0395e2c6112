"""What `slws references` does: lists published figures, or related systems."""

from __future__ import annotations

from slws_lab.cli.show_tables import draw
from slws_lab.cli.terminal import as_json, line
from slws_lab.errors import UserError
from slws_lab.reports.references import Filters, figures_view, find_figures, find_systems, systems_view
from slws_lab.reports.wording import plural

ELSEWHERE = "All are shown on a wider terminal, or by --json."


def figures(asked: Filters, json: bool) -> None:
    """Show the published figures that pass every filter."""
    rows = find_figures(asked)
    if json:
        as_json(rows)
        return
    draw(figures_view(rows), ELSEWHERE)
    line(f"{plural(len(rows), 'published figure')}; a study shows those of a KEY by `report: {{references: [KEY]}}`")


def systems(asked: Filters, json: bool) -> None:
    """Show the related systems in which a text stands, each with how it could be covered.

    Raises:
        UserError: A filter of figures.
    """
    for option in ("key", "dataset", "metric"):
        if getattr(asked, option):
            raise UserError(f"--{option} is for figures", todo="leave it out: slws references TEXT --systems")
    rows = find_systems(asked.text)
    if json:
        as_json(rows)
        return
    draw(systems_view(rows), ELSEWHERE, [one.note for one in rows])
    line(f"{plural(len(rows), 'related system')}; figures of one: slws references --key KEY")
