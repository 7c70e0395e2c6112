"""Models that are not ours: a user's own file, and weights to start from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_runs import spec

from slws_lab.errors import UserError
from slws_lab.spec.weights import fill_digest
from slws_lab.training import Surroundings, TrainResult, check, train

MODELS = """\
import torch
from timm.models import register_model


class Tiny(torch.nn.Module):
    def __init__(self, num_classes, in_chans, scale=1.0):
        super().__init__()
        self.scale = scale
        self.blocks = torch.nn.ModuleList(torch.nn.Identity() for _ in range(2))
        self.head = torch.nn.Linear(in_chans * 64, num_classes)

    def forward(self, images):
        tokens = images.flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens.transpose(1, 2).flatten(1) * self.scale)


@register_model
def NAME(pretrained=False, num_classes=10, in_chans=3, scale=1.0, **_):
    return Tiny(num_classes, in_chans, scale)
"""


def own(name: str, **changes: object):  # type: ignore[no-untyped-def]
    run = spec(**{"models": ["my_models.py"], "shuffle": {"schedule": "linear", "max_rate": 0.5}, **changes})
    return run.model_copy(update={"model": run.model.model_copy(update={"name": name, "args": {}, "drop_path": 0.0})})


SIZED = """\
import torch
from timm.models import register_model


class Sized(torch.nn.Module):
    def __init__(self, num_classes, in_chans, img_size, WANTED):
        super().__init__()
        self.head = torch.nn.Linear(in_chans * img_size**2, num_classes)

    def forward(self, images):
        return self.head(images.flatten(1))


@register_model
def NAME(pretrained, num_classes, in_chans, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **args):
    return Sized(num_classes, in_chans, **args)
"""


def trained(run, root: Path) -> TrainResult:  # type: ignore[no-untyped-def]
    return train(run, Surroundings(root / "out", torch.device("cpu"), lambda epoch, metrics: None, root=root))


def test_a_users_own_model_is_checked_and_trained(tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(MODELS.replace("NAME", "mine_a"))
    (answer,) = check([own("mine_a")], tmp_path)
    assert answer["params"] == 64 * 10 + 10
    assert trained(own("mine_a"), tmp_path).status == "finished"


def test_a_changed_file_is_executed_anew(tmp_path: Path) -> None:
    path = tmp_path / "my_models.py"
    path.write_text(MODELS.replace("NAME", "mine_b"))
    before = trained(own("mine_b"), tmp_path).metrics["val/loss"]
    path.write_text(MODELS.replace("NAME", "mine_b").replace("* self.scale", "* 3 * self.scale"))
    assert trained(own("mine_b"), tmp_path).metrics["val/loss"] != before


def test_of_two_files_with_the_same_name_each_run_takes_its_own(tmp_path: Path) -> None:
    text = MODELS.replace("NAME", "mine_d")
    (tmp_path / "a.py").write_text(text)
    (tmp_path / "b.py").write_text(text.replace("in_chans * 64, num_classes", "in_chans * 64, num_classes, bias=False"))
    params = [check([own("mine_d", models=[f"{name}.py"])], tmp_path)[0]["params"] for name in "aba"]
    assert params == [650, 640, 650]


def test_a_file_that_takes_a_name_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(MODELS.replace("NAME", "vim_micro"))
    (answer,) = check([own("vim_micro")], tmp_path)
    assert "which is ours" in answer["error"]["given"]
    assert "params" in check([spec()], tmp_path)[0]


def test_a_file_is_executed_only_where_a_recipe_names_it(tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text("raise SystemError('executed')")
    (answer,) = check([spec()], tmp_path)
    assert "params" in answer


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "cannot read 'my_models.py'"), ("import sys; sys.exit(0)", "raises SystemExit"), ("x = 1\nx.y\n", "raises AttributeError"), ("def (", "raises SyntaxError"),
     ("", "no model 'mine_c'")],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_an_answer_with_its_place(text: str | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "my_models.py").write_text(text)
    (answer,) = check([own("mine_c")], tmp_path)
    assert said in answer["error"]["given"]
    assert answer["error"]["where"] in ("models.0", "model.name")
    if text == "x = 1\nx.y\n":
        assert "(line 2)" in answer["error"]["given"]


def test_a_training_starts_from_a_checkpoint_and_says_what_it_used(tmp_path: Path) -> None:
    train(spec(), Surroundings(tmp_path / "first", torch.device("cpu"), lambda epoch, metrics: None, root=tmp_path))
    still = {"epochs": 1, "lr": 1e-12, "min_lr": 0.0, "warmup_lr": 0.0}
    second = fill_digest(spec(model={"init_from": "first/last.safetensors"}, train=still), tmp_path)
    curve: dict[str, float] = {}
    result = train(
        second,
        Surroundings(tmp_path / "second", torch.device("cpu"), lambda _, found: curve.update(found), root=tmp_path),
    )
    assert result.started_from == "58 tensors loaded from first/last.safetensors"
    ended = train(
        spec(), Surroundings(tmp_path / "first", torch.device("cpu"), lambda epoch, metrics: None, root=tmp_path)
    )
    assert curve["val/loss"] == pytest.approx(ended.metrics["val/loss"], rel=1e-6)


def test_a_checkpoint_that_has_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    (tmp_path / "start.pth").write_bytes(b"one")
    run = fill_digest(spec(model={"init_from": "start.pth"}), tmp_path)
    (tmp_path / "start.pth").write_bytes(b"two")
    with pytest.raises(UserError, match="has changed since the run was planned"):
        trained(run, tmp_path)


@pytest.mark.parametrize(
    ("name", "wanted"), [("sized_a", "gate=False"), ("sized_b", "gate"), ("sized_c", "gate, drop_path_rate=0.5")]
)
def test_a_users_model_gets_the_size_of_the_images_whatever_else_it_asks_for(
    name: str, wanted: str, tmp_path: Path
) -> None:
    (tmp_path / "my_models.py").write_text(SIZED.replace("NAME", name).replace("WANTED", wanted))
    run = own(name, shuffle={"schedule": "none"})
    run = run.model_copy(update={"model": run.model.model_copy(update={"args": {"gate": True}})})
    assert check([run], tmp_path)[0].get("params") == 64 * 10 + 10


def test_a_mistyped_argument_of_a_users_model_is_named_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(SIZED.replace("NAME", "sized_d").replace("WANTED", "gate=False"))
    run = own("sized_d", shuffle={"schedule": "none"})
    run = run.model_copy(update={"model": run.model.model_copy(update={"args": {"gat": True}})})
    error = check([run], tmp_path)[0]["error"]
    assert error["where"] == "model.args.gat" and "unexpected keyword argument 'gat'" in error["given"]
