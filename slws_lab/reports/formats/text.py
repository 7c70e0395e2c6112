"""Text that is safe to print in one line, and the templates' environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2


def one_line(text: str) -> str:
    """Return text in one line without what is not to be seen: control characters, which a terminal may obey, and their like."""
    return " ".join("".join(c for c in text if c.isprintable() or c.isspace()).split())


def templates(**options: Any) -> jinja2.Environment:
    import jinja2  # no command but `report` needs it

    return jinja2.Environment(loader=jinja2.PackageLoader("slws_lab.reports"), undefined=jinja2.StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True, **options)  # fmt: skip
