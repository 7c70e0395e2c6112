"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Study = Annotated[str, typer.Argument(metavar="STUDY", help="Path of a study file, or its name under studies/.")]
Workspace = Annotated[
    Path | None, typer.Option(help="Folder of run folders and store; default .slws in the root, or SLWS_WORKSPACE.")
]
Out = Annotated[
    Path | None, typer.Option(help="Folder in which the report's folder is made; default reports/ in the root.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Only = Annotated[
    list[str] | None,
    typer.Option(metavar="K=V", help="Only runs with this level, e.g. shuffle.schedule=none or seed=0."),
]
Launcher = Annotated[
    str,
    typer.Option(
        help="Where runs execute: local (a process a GPU or core), slurm, ray, or in_process (for debugging)."
    ),
]
