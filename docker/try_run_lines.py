#!/usr/bin/env python3
"""Runs a Dockerfile's lines, one after the other, in a Debian made by debootstrap: a trial for machines without a container engine.

    sudo docker/try_run_lines.py docker/cpu.Dockerfile NEW_FOLDER [--build-arg NAME=VALUE] [--command doctor]

It takes as long as a build (minutes, most of them for torch), needs root, debootstrap, dockerfile-parse and the package
registries, and shows neither layers nor the base image itself: `FROM python:3.11...-bookworm` is played by Debian's own
Python 3.11 in /usr/local. One stage only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from dockerfile_parse import DockerfileParser

PLAYED = re.compile(r"python:3\.11[.\d]*-slim-bookworm")
PASSED_ON = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "SSL_CERT_FILE")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# Mounts are made in a name space of their own, so that none is left whatever happens.
ENTER = """
mount --types proc proc "$1/proc" && mount --rbind /dev "$1/dev" || exit 125
if [ -n "$2" ]; then mkdir -p "$1/project" && mount --bind "$2" "$1/project" || exit 125; fi
root=$1 user=$3; shift 3
exec chroot --userspec="$user" "$root" "$@"
"""


@dataclass
class Trial:
    """An image that is made line by line in a folder.

    Args:
        root: The folder, the image's file system.
        context: What COPY copies from.
        kept: The names that the .dockerignore file lets through.
        arguments: Build arguments.
    """

    root: Path
    context: Path
    kept: set[str]
    arguments: dict[str, str]
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0"
    start: dict[str, list[str]] = field(default_factory=dict)

    def take(self, instruction: str, value: str) -> None:
        """Do what one line says."""
        match instruction:
            case "RUN":
                self.enter(["/bin/sh", "-c", value])
            case "COPY":
                self.copy(value.split())
            case "ARG":
                name, _, default = value.partition("=")
                self.arguments.setdefault(name, default.strip('"'))
            case "ENV":
                self.environment |= dict(re.findall(r'(\w+)=("[^"]*"|\S+)', value))
            case "WORKDIR":
                self.folder = value
                (self.root / value.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "USER":
                self.user = value
            case "ENTRYPOINT" | "CMD":
                self.start[instruction] = json.loads(value)
            case "FROM" | "LABEL" | "EXPOSE" | "HEALTHCHECK" | "COMMENT":
                pass
            case _:
                raise SystemExit(f"{instruction}: this trial does not know it")

    def copy(self, names: list[str]) -> None:
        """Copy files and the contents of folders, as COPY does."""
        *sources, target = names
        place = self.root / os.path.normpath(f"{self.folder}/{target}").lstrip("/")
        for name in sources:
            if name not in self.kept:
                raise SystemExit(f"COPY {name}: the .dockerignore file keeps it out")
            source = self.context / name
            if source.is_dir():
                shutil.copytree(source, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, place)

    def enter(self, command: list[str], project: str = "") -> None:
        """Run a command within, with nothing of this process's environment but the registries' settings."""
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        settings = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        given = {"PATH": path, **settings, **self.arguments, **self.environment, "PIP_CERT": str(CERTIFICATES)}
        variables = [f"{name}={value}" for name, value in given.items()]
        inside = ["env", "-i", f"--chdir={self.folder}", *variables, *command]
        started = time.monotonic()
        script = ["sh", "-c", ENTER, "enter", str(self.root), project, f"{self.user}:{self.user}", *inside]
        done = subprocess.run(["unshare", "--mount", "--pid", "--fork", *script], check=False)
        print(f"-- exit code {done.returncode} after {time.monotonic() - started:.0f} s", flush=True)
        if done.returncode:
            raise SystemExit(done.returncode)


def make_base(root: Path) -> None:
    """Put a small Debian at a path, with Python in /usr/local and what this machine knows of names and certificates."""
    subprocess.run(["debootstrap", "--variant=minbase", "bookworm", root], check=True, stdout=subprocess.DEVNULL)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    base = Trial(root, root, set(), {"DEBIAN_FRONTEND": "noninteractive"})
    base.enter(["apt-get", "update", "-qq"])
    base.enter(
        ["apt-get", "install", "-qq", "--no-install-recommends", "ca-certificates", "python3-dev", "python3-venv"]
    )
    shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
    base.enter(["python3", "-m", "venv", "/usr/local"])


def main() -> None:
    """Read the command line and make the trial."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("dockerfile", type=Path)
    parser.add_argument("root", type=Path, help="a folder that does not exist yet; some GB")
    parser.add_argument("--context", type=Path, default=Path.cwd())
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--command", nargs=argparse.REMAINDER, help="what follows is given to the entry point, not CMD")
    given = parser.parse_args()
    lines = DockerfileParser(str(given.dockerfile), cache_content=True).structure
    bases = [line["value"] for line in lines if line["instruction"] == "FROM"]
    if len(bases) != 1 or not PLAYED.fullmatch(bases[0]):
        sys.exit(f"{given.dockerfile}: only one stage from {PLAYED.pattern} can be tried, not {bases}")
    ignored = given.dockerfile.with_name(f"{given.dockerfile.name}.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    trial = Trial(given.root.absolute(), given.context, kept, dict(one.split("=", 1) for one in given.build_arg))
    make_base(trial.root)
    for line in lines:
        if line["instruction"] != "COMMENT":
            print(f"== {line['instruction']} {line['value']}", flush=True)
        trial.take(line["instruction"], line["value"])
    command = trial.start.get("ENTRYPOINT", []) + (given.command or trial.start.get("CMD", []))
    print(f"== as user {trial.user}: {' '.join(command)}", flush=True)
    trial.enter(command, str(given.context.absolute()))


if __name__ == "__main__":
    main()
