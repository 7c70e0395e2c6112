"""The commands and their options. Each imports the lab only when it runs, so that `slws --help` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slws_lab.cli.app_bundle import bundle_app, compare
from slws_lab.cli.help import Command, Group
from slws_lab.cli.options import Json, Launcher, Only, Out, Study, Workspace

app = typer.Typer(
    name="slws",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Ablation studies for Vision Mamba with Stochastic Layer-Wise Shuffle.\n\n"
    "A study file asks one question: a recipe, what is varied, seeds, a metric. Start with "
    "`slws plan studies/quickstart.yaml`, then `slws run` it; run it again to go on after an interruption.",
    epilog="Exit codes: 0 complete, 1 failed or missing runs or a failed check, 2 a mistake of yours (one message), 130 interrupted.",
)

data_app = typer.Typer(cls=Group, no_args_is_help=True, help="Read a data set through, or fetch one.")
app.add_typer(data_app, name="data", rich_help_panel="Workshop")
study_app = typer.Typer(
    cls=Group, no_args_is_help=True, help="Draft a study from a template or a search, or draw its design."
)
app.add_typer(study_app, name="study", rich_help_panel="Studies")
app.add_typer(bundle_app, name="bundle", rich_help_panel="Studies")


@app.command(cls=Command, rich_help_panel="Studies")
def plan(
    study: Study,
    launcher: Launcher = "local",
    only: Only = None,
    probe: Annotated[bool, typer.Option(help="Measure a few steps where no finished run tells the cost.")] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Show arms, roles, what would run, what it costs and what it can find. Starts nothing."""
    from slws_lab.cli import commands

    commands.plan(study, launcher, only or [], probe, workspace, json)


@app.command(cls=Command, rich_help_panel="Studies")
def run(
    study: Study,
    launcher: Launcher = "local",
    only: Only = None,
    refresh: Annotated[bool, typer.Option(help="Also rerun what changed code or packages made stale.")] = False,
    retry: Annotated[
        str, typer.Option(metavar="KIND", help="Only runs that failed so: memory, disk, lost, damaged or error.")
    ] = "",
    workspace: Workspace = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Run what is missing, mirror it to MLflow, write the report. The same command goes on after Ctrl-C or a crash."""
    from slws_lab.cli import commands

    options = {"launcher": launcher, "only": only or [], "refresh": refresh, "retry": retry}
    commands.run(study, options, workspace, out, json)


@app.command(cls=Command, rich_help_panel="Studies")
def status(study: Study, workspace: Workspace = None, json: Json = False) -> None:
    """Show what is done, running, failed and why. Exit code 0 if the study is complete."""
    from slws_lab.cli import commands

    commands.status(study, workspace, json)


@app.command(cls=Command, rich_help_panel="Studies")
def rerun(
    study: Study,
    name: Annotated[
        str, typer.Argument(metavar="RUN|ARM", help="A run id, an arm's label or id, or the start of an id.")
    ],
    verify: Annotated[bool, typer.Option(help="Exit 1 unless each rerun is identical to the run that counts.")] = False,
    replace: Annotated[bool, typer.Option(help="Make the tables use the rerun.")] = False,
    launcher: Launcher = "local",
    workspace: Workspace = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Run a single run or arm again, as a new attempt. Old attempts are kept; tables use the first unless --replace."""
    from slws_lab.cli import commands

    commands.rerun(study, name, verify, replace, launcher, workspace, out, json)


@app.command(cls=Command, rich_help_panel="Studies")
def report(
    study: Study,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILES", help="With --check, copies of its tables elsewhere: files or folders."),
    ] = None,
    workspace: Workspace = None,
    out: Out = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; list what is not as it would be now, and exit 1 if anything."),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Write nothing and exit 1 if arms differ in what the study does not declare."),
    ] = False,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget", help="Write also if runs of the report have no result here; it is kept as STUDY-before."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Write the report anew: tables (Markdown, LaTeX, HTML, CSV), figures, report.html. Or check the one that there is."""
    from slws_lab.cli import commands

    commands.report(study, files or [], workspace, out, {"check": check, "strict": strict, "forget": forget}, json)


app.command(cls=Command, rich_help_panel="Studies")(compare)


@app.command(cls=Command, rich_help_panel="Runs")
def why(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run id, or the start of one.")],
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Explain a run: settings, identity, attempts, what made it, and whether it is stale."""
    from slws_lab.cli import commands

    commands.why(run, workspace, json)


@app.command(cls=Command, rich_help_panel="Runs")
def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Path of a recipe, e.g. experiments/NAME.yaml.")],
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the run.")] = 0,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Threads of a rank on the CPU.")] = 1,
    workers: Annotated[int, typer.Option(min=0, max=256, help="Processes a rank that read images.")] = 0,
    gpus: Annotated[int | None, typer.Option(min=0, max=1, help="0 for the CPU, 1 for a GPU a rank.")] = None,
    launcher: Launcher = "local",
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Train one recipe outside any study; recorded and mirrored like any run."""
    from slws_lab.cli import commands

    resources = {"threads": threads, "workers": workers, "gpus": gpus}
    commands.train(recipe, seed, resources, launcher, workspace, json)


@app.command("eval", cls=Command, rich_help_panel="Runs")
def evaluate(  # noqa: PLR0913, PLR0917 (a parameter for each option)
    what: Annotated[
        str, typer.Argument(metavar="RUN|CHECKPOINT", help="A run id, or the start of one; or, with --recipe, a file.")
    ],
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe that says which model and data a file of weights belongs to.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="test|val", help="Which samples.")] = "test",
    data: Annotated[
        str | None, typer.Option(metavar="NAME[:PATH]", help="Another data set, with the classes of the recipe's.")
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Pixels of the images; position embeddings are resized.")
    ] = None,
    crop: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Side of the centre crop, as a share of the resized image's.")
    ] = None,
    weights: Annotated[
        str, typer.Option(metavar="ema|last|both", help="Moving average, last weights, or both where there are both.")
    ] = "both",
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads on the CPU; default those of the run, 1 for a file.")
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=0, max=1, help="0 or 1; default a GPU where there is one.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a batch.")] = 256,
    workers: Annotated[int, typer.Option(min=0, max=256, help="Processes that read images; 0 reads in one.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for evaluation.json, per_class.csv and confusion.csv.")
    ] = None,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Evaluate a run or a checkpoint: accuracy, classes, confusion, calibration, speed. The one command that evaluates on test."""
    from slws_lab.cli import commands
    from slws_lab.lab.evaluating import Options

    options = Options(split, data, resolution, crop, weights, threads, gpus, batch_size, workers)
    commands.evaluate(what, recipe, options, out, workspace, json)


@app.command(cls=Command, rich_help_panel="MLflow")
def ui(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="Open this study's page; with --optuna, show this search.")
    ] = None,
    optuna: Annotated[bool, typer.Option("--optuna", help="Open Optuna's dashboard on the search's storage.")] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
    host: Annotated[
        str, typer.Option(help="Address to listen on; another one opens the store to other machines.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000,
    workspace: Workspace = None,
) -> None:
    """Open MLflow's UI on the workspace's store, with the reports beside it, or Optuna's dashboard; for this machine only."""
    from slws_lab.cli import commands_search, commands_ui

    if optuna:
        commands_search.ui(study, host, port, workspace)
    else:
        commands_ui.ui(study, commands_ui.Options(host, port, not no_open), workspace)


@app.command(cls=Command, rich_help_panel="MLflow")
def sync(
    study: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="A study; default all under studies/.")] = None,
    rebuild: Annotated[bool, typer.Option(help="Replace the workspace's own SQLite store by a new one first.")] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Send to MLflow what it does not have yet, from the run folders."""
    from slws_lab.cli import commands

    commands.sync(study, rebuild, workspace, json)


@app.command(cls=Command, rich_help_panel="Workshop")
def verify(
    study: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="A study; default the whole workspace.")
    ] = None,
    workspace: Workspace = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Audit what was recorded: digests, journals, MLflow, reports. Changes nothing; says what is wrong and what mends it."""
    from slws_lab.cli import commands

    commands.verify(study, workspace, out, json)


@app.command(cls=Command, rich_help_panel="Workshop")
def clean(
    weights: Annotated[bool, typer.Option(help="Also the final weights of ended runs.")] = False,
    superseded: Annotated[bool, typer.Option(help="Also attempts that no table uses.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only say what would be removed.")] = False,
    workspace: Workspace = None,
    json: Json = False,
) -> None:
    """Free disk space in the workspace. Says first what would go; what tables use always stays."""
    from slws_lab.cli import commands

    commands.clean(weights, superseded, yes, workspace, json)


@app.command(cls=Command, rich_help_panel="Workshop")
def schema(kind: Annotated[str, typer.Argument(metavar="study|recipe", help="Which kind of file.")] = "study") -> None:
    """Print the JSON Schema of study or recipe files, for editors."""
    from slws_lab.cli import commands

    commands.schema(kind)


@app.command(cls=Command, rich_help_panel="Workshop")
def models(json: Json = False) -> None:
    """List this package's models; any other name in timm's registry works too."""
    from slws_lab.cli import commands

    commands.models(json)


@app.command(cls=Command, rich_help_panel="Workshop")
def references(
    text: Annotated[
        str, typer.Argument(metavar="[TEXT]", help="Only rows in which this stands; case does not matter.")
    ] = "",
    key: Annotated[str, typer.Option(metavar="KEY", help="Only figures of this key, as in a study's report.")] = "",
    dataset: Annotated[str, typer.Option(metavar="NAME", help="Only figures on this data set.")] = "",
    metric: Annotated[str, typer.Option(metavar="NAME", help="Only figures of this metric, e.g. top1.")] = "",
    systems: Annotated[
        bool, typer.Option("--systems", help="List the related systems instead, with how each could be covered.")
    ] = False,
    json: Json = False,
) -> None:
    """List published figures with their sources and settings. They are shown beside yours, never tested against them."""
    from slws_lab.cli import commands_references
    from slws_lab.reports.references import Filters

    show = commands_references.systems if systems else commands_references.figures
    show(Filters(text, key, dataset, metric), json)


@app.command(cls=Command, rich_help_panel="Workshop")
def doctor(workspace: Workspace = None, json: Json = False) -> None:
    """Say what this machine and installation can do: GPU, scan back-ends, packages, MLflow store, disk."""
    from slws_lab.cli import commands

    commands.doctor(workspace, json)


@data_app.command("check", cls=Command)
def data_check(
    source: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Path of a recipe; or a study, whose baseline's data are read.")
    ],
    workers: Annotated[int, typer.Option(min=0, max=256, help="Processes that read images; 0 reads in one.")] = 0,
    json: Json = False,
) -> None:
    """Read every image of a recipe's or study's data once: counts, sizes, broken and repeated images.

    Exit code 1 if an image is broken or if train and test share images.
    """
    from slws_lab.cli import commands

    commands.data_check(source, workers, json)


@data_app.command("download", cls=Command)
def data_download(
    name: Annotated[str, typer.Argument(metavar="NAME", help="cifar10, cifar100 or fashion_mnist.")],
    folder: Annotated[Path | None, typer.Argument(metavar="[FOLDER]", help="Default data/ in the root.")] = None,
) -> None:
    """Fetch a small data set from where its authors keep it."""
    from slws_lab.cli import commands

    commands.data_download(name, folder)


@study_app.command("new", cls=Command)
def study_new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the study; its file is studies/NAME.yaml.")],
    template: Annotated[
        str | None, typer.Option(metavar="TEMPLATE", help="What kind of study; left out, all are listed.")
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="Path of the recipe to start from; default experiments/shufflemamba_micro_digits.yaml, if the project has it."
        ),
    ] = None,
) -> None:
    """Write a commented study from a template, to be edited. Never writes over a file."""
    from slws_lab.cli import commands

    commands.study_new(name, template, recipe)


@study_app.command("from-search", cls=Command)
def study_from_search(
    search: Annotated[
        str, typer.Argument(metavar="SEARCH", help="Path of a search's study file, or its name under studies/.")
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Name of the ablation; default SEARCH-ablation.")
    ] = None,
    trial: Annotated[int | None, typer.Option(min=0, help="Number of the trial; default the best.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Seeds, none of which the search has seen.")] = 5,
    out: Annotated[Path | None, typer.Option(help="Folder of the study file; default that of the search's.")] = None,
    workspace: Workspace = None,
) -> None:
    """Write the ablation between a search's baseline and what it found: each change alone, each taken back, and a path.

    Never writes over a file.
    """
    from slws_lab.cli import commands_search

    commands_search.study_from_search(search, name, trial, seeds, out, workspace)


@study_app.command("show", cls=Command)
def study_show(study: Study) -> None:
    """Draw a study's design as a tree: factors, blocks, and what each arm changes."""
    from slws_lab.cli import commands

    commands.study_show(study)
