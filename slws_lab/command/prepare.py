"""What a command recipe executes for one run: arguments, environment and folder, all placeholders filled."""

from __future__ import annotations

import os
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from slws_lab.command.api import LOG_FILE
from slws_lab.errors import UserError
from slws_lab.spec import CommandRecipe, CommandRun, run_id
from slws_lab.spec.command_checks import GIVEN
from slws_lab.spec.template import Value, fill, fill_shell, parse

SHELL = "/bin/sh"
LOGGED = ".slws_log.jsonl"
ZIP_BEGINS = b"PK\x03\x04"
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))")
THREAD_POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Execution:
    """A process to be started: its arguments, its whole environment, and its folder."""

    arguments: list[str]
    env: dict[str, str]
    cwd: Path


@dataclass(frozen=True)
class Context:
    """What a run is executed with and where.

    Attributes:
        root: The project's folder.
        files: The run's own folder, `{run.dir}`.
        log: The file to which `slws_lab.log` writes.
        threads: Threads of a rank on the CPU.
        device: `cuda` or `cpu`.
    """

    root: Path
    files: Path
    log: Path
    threads: int
    device: str


def execution(run: CommandRun, context: Context, *, resumed: bool) -> Execution:
    """Return what a run executes.

    Args:
        run: The run.
        context: What it is executed with.
        resumed: Whether it goes on, so that the arguments of `resume` are added.
    """
    values = placeholders(run, context)
    if run.shell:
        arguments = [SHELL, "-c", fill_shell(run.command[0], values)]
    else:
        texts = (*run.command, *(run.resume if resumed else ()))
        arguments = [argument for text in texts for argument in fill(text, values, os.path.expandvars)]
    threads = str(context.threads)
    env = {**os.environ, "PYTHONUNBUFFERED": "1", **dict.fromkeys(THREAD_POOLS, threads), LOG_FILE: str(context.log)}
    if context.device == "cpu":
        env["CUDA_VISIBLE_DEVICES"] = ""
    env |= {name: fill(text, values, os.path.expandvars)[0] for name, text in run.env.items()}
    return Execution(arguments, env, folder(run, context.root))


def placeholders(run: CommandRun, context: Context) -> dict[str, Value]:
    """Return what each placeholder stands for."""
    return {
        **run.values, "seed": run.seed, "run.dir": str(context.files.absolute()), "run.id": run_id(run), "threads": context.threads,
        "ranks": run.ranks, "device": context.device, "python": sys.executable,
    }  # fmt: skip


def goes_on(run: CommandRun, files: Path) -> bool:
    """Say whether a run that was begun can go on: it says how, and every file of its own folder that it names there is there and not torn.

    Where it names none, as in `--auto-resume`, something must be in that folder.
    """
    values: dict[str, Value] = {**run.values, **dict.fromkeys(GIVEN, "")}
    values |= {"seed": run.seed, "run.dir": str(files), "run.id": run_id(run), "ranks": run.ranks}
    filled = [
        fill(text, values, os.path.expandvars)
        for text in run.resume
        if any(part.name == "run.dir" for part in parse(text))
    ]
    named = [Path(words[-1][words[-1].index(str(files)) :]) for words in filled]
    return bool(run.resume) and all(_holds_something(path) for path in named or [files])


def runs_our_python(recipe: CommandRecipe) -> bool:
    """Say whether the command's program is the Python that runs this, so that its packages are known."""
    return recipe.command[0].split()[:1] == ["{python}"]


def folder(recipe: CommandRecipe, root: Path) -> Path:
    """Return the folder in which a command runs."""
    return root / Path(os.path.expandvars(recipe.cwd or ".")).expanduser()


def check(recipe: CommandRecipe, root: Path) -> None:
    """Check what can be known before anything starts: the folder, the variables of the environment, and the program.

    Raises:
        UserError: Something is not there; `where` is the field of the recipe.
    """
    for where, text in _literals(recipe):
        for found in VARIABLE.finditer(text):
            name = found[1] or found[2]
            if name not in os.environ:
                raise UserError(f"the environment has no variable '{name}'", where=where, todo=f"export {name}=...")
    place = folder(recipe, root)
    if not place.is_dir():
        raise UserError(f"there is no folder '{place}'", where="cwd", allowed="a folder, relative to the project's")
    first = parse(recipe.command[0], line=recipe.shell)
    if recipe.shell or any(part.name is not None for part in first):
        return
    program = os.path.expandvars("".join(part.text for part in first))
    path = os.path.expandvars(recipe.env["PATH"]) if "PATH" in recipe.env else None
    if shutil.which(str(place / program) if "/" in program else program, path=path) is None:
        raise UserError(f"there is no program '{program}'", where="command",
                        todo="mend its name, or activate the environment that has it; {python} is the Python of slws")  # fmt: skip


def named_files(recipe: CommandRecipe, root: Path) -> list[str]:
    """Return the files of the project that the command names in full, relative to the project's folder: its code."""
    place, top, found = folder(recipe, root), root.resolve(), set()
    for text in recipe.command if not recipe.shell else ():
        parts = parse(text)
        with suppress(OSError, ValueError):  # an argument may be longer than a name, or hold what no name may
            path = (place / "".join(part.text for part in parts)).resolve()
            if all(part.name is None for part in parts) and path.is_file() and path.is_relative_to(top):
                found.add(path.relative_to(top).as_posix())
    return sorted(found)


def _holds_something(path: Path) -> bool:
    """Say whether a file is there and not torn, or a folder with more in it than what `slws_lab.log` wrote."""
    if path.is_dir():
        return any(one.name != LOGGED for one in path.iterdir())
    return path.exists() and not _is_torn(path)


def _is_torn(path: Path) -> bool:
    """Say whether a file is seen to be the work of a process that was killed while it wrote: empty, or a zip archive without its end.

    Such archives are what `torch.save` writes. Other formats do not tell, and the command will.
    """
    try:
        with path.open("rb") as file:
            begins = file.read(len(ZIP_BEGINS))
    except PermissionError:  # the command says so itself, and as what it runs
        return False
    return ZIP_BEGINS.startswith(begins) and not zipfile.is_zipfile(path)


def _literals(recipe: CommandRecipe) -> Iterator[tuple[str, str]]:
    """Yield the plain text of all that is read here, with its field; a shell reads its line itself."""
    texts = {
        "command": () if recipe.shell else recipe.command,
        "resume": recipe.resume,
        "env": tuple(recipe.env.values()),
    }
    for where, given in texts.items():
        yield from ((where, part.text) for text in given for part in parse(text))
    yield "cwd", recipe.cwd or ""
