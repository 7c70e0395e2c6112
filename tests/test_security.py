"""What strangers' files and other users of the machine may not do, and what may never be written down."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import Folder, Slws, make_project

from slws_lab.cli import terminal
from slws_lab.errors import UserError
from slws_lab.lab import science
from slws_lab.spec import expand, load_recipe, load_study
from slws_lab.tracking import Workspace, journal, provenance, write_text
from slws_lab.tracking.mirror_ui import is_loopback, ui_command

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "wJalr-planted-aws-5Dq8", "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-7Hx2", "HF_TOKEN": "hf_planted_3Kc9",
    "MY_API_KEY": "planted-api-1Vw6",
}  # fmt: skip
# Here, since the fixture `finished` runs its study in this environment, whichever test asks for it first.
os.environ.update(SECRETS)

OUT = "../../planted"


@pytest.mark.parametrize(
    "command",
    [
        ["why", OUT], ["why", ""], ["why", "z"], ["why", "/etc/passwd"], ["run", OUT], ["run", f"{OUT}.yaml"], ["status", "../../../etc/passwd"],
        ["run", "studies"], ["run", "tiny", "--only", f"{OUT}=1"], ["run", "tiny", "--only", f"seed={OUT}"], ["rerun", "tiny", OUT], ["rerun", "tiny", ""],
        ["study", "new", OUT, "--template", "probability"], ["study", "new", "..", "--template", "probability"], ["study", "new", "x", "--template", OUT],
        ["study", "new", "x", "--template", "probability", "--recipe", "../outside.yaml"], ["eval", OUT], ["eval", "z", "--data", f"wds/{OUT}"],
        ["data", "download", OUT], ["schema", OUT], ["train", f"{OUT}.yaml"], ["sync", OUT], ["report", OUT],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_name_on_the_command_line_leads_nowhere_else(
    command: list[str], project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(science, "check", lambda *_: pytest.fail("asked the science tower"))
    monkeypatch.setattr("slws_lab.lab.data_checking.ask", lambda *_: {"error": {"given": "no such set"}})
    (project.path.parent / "outside.yaml").write_text(project.recipe.read_text())
    (project.workspace / "runs" / "x").mkdir(parents=True)  # no run of ours has such a name
    write_text(project.workspace / "runs" / "x" / "run.json", "{}")
    before = _tree(project.path.parent)
    assert slws(*command, cwd=project.path) in (1, 2)
    assert "Traceback" not in capsys.readouterr().err
    assert _tree(project.path.parent) == before


@pytest.mark.parametrize(
    "name", ["../out", "..", ".", "a/b", "/abs/x", "a\\b", "~", "a\nb", "a ", "", "x" * 81, "-x", "a\0b", "\u202ea"]
)
def test_a_study_cannot_have_a_name_that_is_no_name(name: str, project: Folder) -> None:
    project.study.write_text(project.study.read_text().replace("name: tiny", f"name: {name!r}"))
    with pytest.raises(UserError):
        load_study(project.study)


@pytest.mark.parametrize("name", ["../m", "a/b", "hf_hub:who/what", "local-dir:/abs", "https://x/y", "/abs", ".."])
def test_a_model_is_a_name_and_no_place(name: str, project: Folder) -> None:
    project.recipe.write_text(project.recipe.read_text().replace("shufflemamba_micro", name))
    with pytest.raises(UserError):
        load_recipe(project.recipe)


@pytest.mark.parametrize("name", ["../digits", "wds/../x", "wds//etc", "/etc", "hfds/../../x", "wds/./x", "wds/~"])
def test_a_data_set_is_a_name_and_no_place(name: str, project: Folder) -> None:
    project.recipe.write_text(project.recipe.read_text().replace("name: digits", f"name: {name}"))
    with pytest.raises(UserError):
        load_recipe(project.recipe)


def test_a_recipe_outside_is_refused_by_its_path_and_by_a_link(project: Folder) -> None:
    outside = project.path.parent / "outside.yaml"
    outside.write_text(project.recipe.read_text())
    (project.recipe.parent / "linked.yaml").symlink_to(outside)
    text = project.study.read_text()
    for name in ("../../outside.yaml", str(outside), "../experiments/linked.yaml"):
        project.study.write_text(text.replace("../experiments/tiny.yaml", name))
        with pytest.raises(UserError, match="outside the project"):
            load_study(project.study)


def test_loading_a_recipe_does_not_execute_the_files_that_it_names(project: Folder) -> None:
    mark = project.path / "executed"
    (project.path / "mine.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    project.recipe.write_text(project.recipe.read_text() + "models: [mine.py]\n")
    expand(load_study(project.study))
    load_recipe(project.recipe)
    assert not mark.exists()


def test_a_link_in_a_report_folder_is_replaced_not_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "reports" / "table.md"
    target.write_text("precious")
    link.parent.mkdir()
    link.symlink_to(target)
    write_text(link, "table")
    assert target.read_text() == "precious" and link.read_text() == "table" and not link.is_symlink()


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\x1b]0;owned\x07\u202e \\input{/etc/passwd} $\\frac{$ | ` &amp; 'x' \"y\""


@pytest.fixture
def hostile(project: Folder, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A project whose question, labels, cause of failure, host and metrics' names are hostile; one run of each arm has ended."""
    quoted = "".join(
        f"\\x{ord(c):02x}"
        if ord(c) < 32
        else f"\\u{ord(c):04x}"
        if ord(c) > 127
        else {'"': '\\"', "\\": "\\\\"}.get(c, c)
        for c in HOSTILE
    )
    text = (
        project.study.read_text()
        .replace("Does the shuffle change a training of two epochs?", f'"{quoted}"')
        .replace("seeds: 3", "seeds: 2")
    )
    text = text.replace("  shuffle.schedule: [none, linear]", f'  model.args.note: [plain, "{quoted}"]').replace(
        "[shuffle.schedule]", "[model.args.note]"
    )
    project.study.write_text(text)
    study = load_study(project.study)
    assert study.spec.question == HOSTILE
    design = expand(study)
    for (arm_id, seed), run_id in design.run_ids.items():
        folder = Workspace(project.workspace).run(run_id)
        folder.create(design.arm(arm_id).run(seed))
        attempt = folder.new_attempt()
        for epoch in (1, 2):
            journal.append(
                attempt.journal, epoch, 1e9, {"val/top1": 50.0 + epoch, "train/loss": 1.0, HOSTILE: 1.0, "../../x": 2.0}
            )
        ended = {"status": "failed", "cause": HOSTILE} if seed else {"status": "finished", "cause": ""}
        attempt.finish({**ended, "host": HOSTILE, "device": HOSTILE, "started": 1e9, "finished": 1e9, "seconds": 1.0, "epochs": 2, "threads": 1,
                        "metrics": {"val/top1": 52.0, HOSTILE: 1.0}, "params": 1000, "data_fingerprint": "aa", "scan_backend": HOSTILE, "resumes": 0,
                        "provenance": {"commit": None, "dirty": False, "code": "aa", "modules": {HOSTILE: "bb"}, "packages": {HOSTILE: "1"}}})  # fmt: skip
    known = {"params": 1000, "data_fingerprint": "aa"}
    monkeypatch.setattr(science, "check", lambda project, asked=None: {arm.id: known for arm in project.design.arms})
    return project


class Page(HTMLParser):
    """Collects a page's tags, attributes and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.styles: list[str] = []
        self.scripts: list[str] = []
        self.addresses: list[str] = []
        self.policy = ""
        self._in_style = self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        given = dict(attrs)
        self.addresses += [given[name] or "" for name in ("href", "src") if name in given]
        self.policy = (
            given.get("content") or "" if given.get("http-equiv") == "Content-Security-Policy" else self.policy
        )
        self._in_style, self._in_script = tag == "style", tag == "script"

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.styles.append(data)
        if self._in_script:
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_style = self._in_script = False


def test_a_report_shows_hostile_text_and_obeys_none_of_it(hostile: Folder, slws: Slws) -> None:
    assert slws("report", "tiny", cwd=hostile.path) == 0
    folder = hostile.path / "reports" / "tiny"
    for name in ("report.html", "table.html"):
        page = Page((folder / name).read_text())
        assert not page.tags & {"iframe", "object", "embed", "base", "form"}
        assert ("script" in page.tags) == (name == "report.html")  # its own, by the digest in its policy
        assert not {
            name
            for name in page.attributes
            if name.startswith("on") or name in ("style", "srcset", "action", "formaction")
        }
        assert all(address.startswith(("data:", "#")) for address in page.addresses)
    text = (folder / "report.html").read_text()
    assert text.count("<script") == 2 and "onerror=alert(2)&gt;" in text
    for name in ("report.html", "table.html", "table.md", "table.tex"):
        assert not terminal.COMMANDING.search((folder / name).read_text()), name
    assert "\\input" not in (folder / "table.tex").read_text()
    assert "<script" not in (folder / "table.md").read_text().replace("\\<", "")
    for figure in (folder / "figures").glob("*.svg"):
        assert "<script" not in figure.read_text() and "<img" not in figure.read_text()


def test_a_report_allows_its_own_style_and_images_and_nothing_else(hostile: Folder, slws: Slws) -> None:
    assert slws("report", "tiny", cwd=hostile.path) == 0
    page = Page((hostile.path / "reports/tiny/report.html").read_text())
    digest = base64.b64encode(hashlib.sha256("".join(page.styles).encode()).digest()).decode()
    script = base64.b64encode(hashlib.sha256(page.scripts[-1].encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in page.policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "script-src": f"'sha256-{script}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


@pytest.mark.parametrize("command", ["status", "plan", "report", "why", "study"])
@pytest.mark.parametrize("json", [False, True])
def test_no_command_hands_control_characters_to_the_terminal(
    command: str, json: bool, hostile: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    study = expand(load_study(hostile.study))
    run_id = study.run_ids[study.arms[1].id, 1]
    arguments = {"why": ["why", run_id], "study": ["study", "show", "tiny"]}.get(command, [command, "tiny"])
    code = slws(*arguments, *(["--json"] if json and command != "study" else []), cwd=hostile.path)
    printed = capsys.readouterr()
    assert code in (0, 1), printed.err
    assert "script" in printed.out or (command, json) == ("report", True)  # which names the files alone
    assert not terminal.COMMANDING.search(printed.out + printed.err)


@pytest.mark.parametrize("where", ["a key", "a path"])
def test_a_mistake_is_told_without_control_characters(
    where: str, project: Folder, slws: Slws, capsys: pytest.CaptureFixture[str]
) -> None:
    key = '"\\e[31mred\\u202e"'
    text = project.study.read_text()
    project.study.write_text(f"{text}{key}: 1\n" if where == "a key" else text.replace("../experiments/tiny.yaml", key))
    assert slws("plan", "tiny", cwd=project.path) == 2
    told = capsys.readouterr().err
    assert "[31mred" in told and not terminal.COMMANDING.search(told)


def test_the_server_listens_to_this_machine_alone_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    workspace = Workspace(tmp_path)
    command = ui_command(workspace, None, 5000)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert not any(
        word.startswith("--allowed-hosts") for word in command
    )  # MLflow's own guard against rebound names stays
    other = ui_command(workspace, "postgresql://user:planted-password@db/x", 5000, "0.0.0.0")
    assert other[other.index("--host") + 1] == "0.0.0.0"
    assert "planted-password" not in " ".join(other)  # every user of the machine can read it
    assert os.environ["MLFLOW_BACKEND_STORE_URI"] == "postgresql://user:planted-password@db/x"


@pytest.mark.parametrize(
    ("host", "warned"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("::", True), ("box.lan", True)],
)
def test_a_server_for_other_machines_is_warned_of(
    host: str,
    warned: bool,
    project: Folder,
    slws: Slws,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(os, "execv", lambda _, command: started.append(command))
    project.workspace.mkdir()
    (project.workspace / "mlflow.db").touch()
    assert slws("ui", "--host", host, cwd=project.path) == 0
    told = capsys.readouterr().err
    assert started[0][started[0].index("--host") + 1] == host
    assert told.count("can read, change and delete runs") == warned
    assert is_loopback(host) is not warned


def test_no_secret_of_the_environment_is_written_anywhere(finished: Folder) -> None:
    files = [path for path in finished.path.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"mlflow.db", "result.json", "log.txt", "report.html", "manifest.json"} <= names
    held = [(path, name) for path in files for name, value in SECRETS.items() if value.encode() in path.read_bytes()]
    assert held == []


def test_a_password_in_the_stores_address_is_not_written_or_told(
    finished_copy: Folder, slws: Slws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:planted-password@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for command in ("sync", "ui"):
        slws(command, cwd=finished_copy.path)
        printed = capsys.readouterr()
        assert "127.0.0.1:9" in printed.out + printed.err
        assert "planted-password" not in printed.out + printed.err
    assert not [
        path for path in finished_copy.path.rglob("*") if path.is_file() and b"planted-password" in path.read_bytes()
    ]


def test_text_is_rid_of_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT_TOKEN", "true")
    text = f"GET https://me:pass@word@host/a?b failed with {SECRETS['HF_TOKEN']}, see https://host/c and {SECRETS['MY_API_KEY']}; true"
    assert (
        provenance.redacted(text)
        == "GET https://host/a?b failed with <HF_TOKEN>, see https://host/c and <MY_API_KEY>; true"
    )


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("postgresql://me:pa@ss/w:rd@host/db is away", "postgresql://host/db is away"),
        ("postgresql://me:pa/ss@host/db", "postgresql://host/db"),
        ("postgresql://me:12/3@4@host:5432/db?a=b", "postgresql://host:5432/db?a=b"),
        ("a://u:p@h1/x,b://u:q/@r@h2/y;c://h3/z ask me@home", "a://h1/x,b://h2/y;c://h3/z ask me@home"),
        ("see https://host/package@1.0 and https://host:80/c or me@home", "see https://host/package@1.0 and https://host:80/c or me@home"),
        ("sqlite:////home/a@b/c:d@e", "sqlite:////home/a@b/c:d@e"),
    ],
)  # fmt: skip
def test_a_password_with_any_sign_is_taken_out_whole_and_no_other_address(text: str, left: str) -> None:
    assert provenance.redacted(text) == left


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_a_runs_diff_holds_no_secret_file_and_its_provenance_no_address(tmp_path: Path) -> None:
    root = make_project(tmp_path / "project").path
    files = {
        name: root / name
        for name in (
            ".env",
            "deep/prod.env",
            "server.pem",
            "kept.txt",
            "forced.txt",
            "new.txt",
            "ignored.txt",
            "staged.txt",
        )
    }
    files["deep/prod.env"].parent.mkdir()
    (root / ".gitignore").write_text("ignored.txt\nforced.txt\n")
    git(root, "init", "-q")
    git(root, "remote", "add", "origin", "https://user:ghp_planted@host/x.git")
    for name in (".env", "deep/prod.env", "server.pem", "kept.txt", "forced.txt"):
        files[name].write_text("before\n")
    git(root, "add", "-A")
    git(root, "add", "-f", "forced.txt")
    git(root, "commit", "-q", "-m", "x")
    for name, path in files.items():
        path.write_text(f"PLANTED {name}\n")
    git(root, "add", "staged.txt")
    git(root, "config", "diff.external", f"touch {tmp_path / 'executed'}; true")
    state = provenance.git_state(root)
    assert set(re.findall(r"PLANTED (.+)", state["diff"])) == {"kept.txt", "staged.txt"}
    assert state["dirty"] and "new.txt" in state["untracked"] and "ignored.txt" not in state["untracked"]
    assert "ghp_planted" not in repr(state) and "host/x.git" not in repr(state)
    assert not (tmp_path / "executed").exists()


def test_files_of_a_workspace_can_be_written_by_their_owner_alone_and_executed_by_no_one(finished: Folder) -> None:
    umask = os.umask(0o022)
    os.umask(umask)
    assert umask & 0o022 == 0o022, "the tests' own umask must be a sane one"
    for top in (finished.workspace, finished.path / "reports"):
        paths = [top, *top.rglob("*")]
        assert [path for path in paths if path.stat().st_mode & 0o022] == []
        assert [path for path in paths if path.is_file() and path.stat().st_mode & 0o111] == []


def test_a_stricter_umask_is_heeded(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_text(tmp_path / "new" / "file", "x")
        journal.append(tmp_path / "new" / "journal.jsonl", 1, 1e9, {"a": 1.0})
    finally:
        os.umask(before)
    assert {oct(path.stat().st_mode & 0o777) for path in (tmp_path / "new").iterdir()} == {"0o600"}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def _tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
