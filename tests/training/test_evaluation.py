"""Evaluation: the training's own figures again, what the figures mean, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_runs import spec

from slws_lab.data import Request, load
from slws_lab.errors import SlwsError, UserError
from slws_lab.spec import DataSpec, Recipe, RunSpec
from slws_lab.training import Surroundings, TrainResult, train
from slws_lab.training.answering import told
from slws_lab.training.evaluation import Question, answer, evaluate_weights
from slws_lab.training.scores import Predictions, calibration, summary

FIGURES = ("loss", "top1", "top5")


def question(run: RunSpec, folder: Path, **changes: Any) -> Question:
    recipe = Recipe(**{name: getattr(run, name) for name in Recipe.model_fields})
    files = tuple(path for path in (folder / "last.safetensors", folder / "ema.safetensors") if path.is_file())
    return replace(Question(recipe, folder.parent, files, gpus=0), **changes)


@dataclass(frozen=True)
class Trained:
    """The tiny run's weights and what its training ended with."""

    folder: Path
    result: TrainResult

    def question(self, run: RunSpec | None = None, **changes: Any) -> Question:
        return question(run or spec(), self.folder, **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The tiny run, trained once. Do not change its folder."""
    return train_in(tmp_path_factory.mktemp("trained"), spec())


def train_in(folder: Path, run: RunSpec) -> Trained:
    torch.set_num_threads(1)
    return Trained(folder, train(run, Surroundings(folder, torch.device("cpu"), lambda epoch, metrics: None)))


def write_digits(folder: Path, names: list[str] | None = None, test: str = "test", most: int = 1) -> Path:
    """Write digits as image files: one a class for train and val, and up to `most` a class for test."""
    dataset = load(Request("digits"))
    for name, split in dataset.splits.items():
        count = dict.fromkeys(range(10), 0)
        for position, sample_id in enumerate(split.ids):
            label, number = map(int, sample_id.split("/")[1:])
            count[label] += 1
            if count[label] <= (most if name == "test" else 1):
                path = (
                    folder
                    / (test if name == "test" else name)
                    / (names or dataset.class_names)[label]
                    / f"{number}.png"
                )
                path.parent.mkdir(parents=True, exist_ok=True)
                split.image(position).save(path)
    return folder


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_figures_of_a_runs_val_split_come_out_again_to_the_last_digit(
    trained: Trained, tmp_path: Path, precision: str
) -> None:
    run = spec(train={"precision": precision})
    done = trained if precision == "fp32" else train_in(tmp_path, run)
    result = done.result
    found = evaluate_weights(done.question(run, split="val"))
    for kind, ending in (("last", ""), ("ema", "_ema")):
        own = {name: result.metrics[f"val/{name}{ending}"] for name in FIGURES}
        assert {name: found["weights"][kind][name] for name in FIGURES} == own
    assert found["weights"]["last"]["loss"] != found["weights"]["ema"]["loss"]
    assert found["data_fingerprint"] == result.data_fingerprint


def test_a_run_that_evaluates_its_training_images_says_how_well_it_fits_them_and_trains_no_other_way(
    trained: Trained, tmp_path: Path
) -> None:
    run = spec(train={"eval_train": True})
    result = train_in(tmp_path, run).result
    found = evaluate_weights(question(run, tmp_path, split="train"))
    fitted = {
        f"train/{name}{ending}": found["weights"][kind][name]
        for kind, ending in (("last", ""), ("ema", "_ema"))
        for name in ("top1", "top5")
    }
    assert {name: result.metrics[name] for name in fitted} == fitted
    assert found["weights"]["last"]["n"] == len(load(Request("digits")).splits["train"])
    measured = ("train/images_per_s", "train/peak_memory_mb", "train/seconds")
    plain = {name: value for name, value in trained.result.metrics.items() if name not in measured}
    assert plain == {n: v for n, v in result.metrics.items() if n not in {*measured, *fitted}}


def test_test_is_another_split_of_the_same_model(trained: Trained) -> None:
    found = evaluate_weights(trained.question(weights="ema"))
    digits = load(Request("digits"))
    assert list(found["weights"]) == ["ema"]
    assert found["split"] == "test"
    ema = found["weights"]["ema"]
    assert ema["n"] == len(digits.splits["test"]) == found["samples"]
    assert [row["n"] for row in ema["per_class"]] == digits.splits["test"].labels.bincount().tolist()
    right = sum(count for true, output, count in ema["confusion"] if true == output)
    assert ema["top1"] == 100.0 * right / ema["n"]
    assert sum(one["n"] for one in ema["calibration"]) == ema["n"]
    assert ema["images_per_s"] > 0


def test_a_data_set_in_place_of_the_recipes_is_seen_as_the_recipes_own(trained: Trained, tmp_path: Path) -> None:
    asked = trained.question(weights="last")
    own = evaluate_weights(asked)["weights"]["last"]
    folder = write_digits(tmp_path / "files", most=100)
    other = asked.recipe.data.model_copy(update={"name": "image_folder", "path": str(folder)})
    found = evaluate_weights(replace(asked, data=other))
    assert found["size"] == 8
    there = found["weights"]["last"]
    assert [there[name] for name in ("top1", "top5", "n", "confusion")] == [
        own[name] for name in ("top1", "top5", "n", "confusion")
    ]
    assert there["loss"] == pytest.approx(own["loss"], rel=1e-6)  # the samples come in another order


def test_what_another_data_set_must_fit(trained: Trained, tmp_path: Path) -> None:
    asked = trained.question(weights="last")

    def refused(**changes: Any) -> str:
        fields = asked.recipe.data.model_dump() | {"name": "image_folder"} | changes
        with pytest.raises(UserError) as error:
            evaluate_weights(replace(asked, data=DataSpec.model_validate(fields)))
        return str(error.value)

    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert "are not those of the recipe's data set" in refused(path=str(write_digits(tmp_path / "words", words)))
    no_test = write_digits(tmp_path / "no_test", test="val")
    message = refused(path=str(no_test))
    assert "no test split" in message
    assert "--split val" in message
    assert "--data" in refused(path=str(tmp_path / "nowhere"))


def test_where_the_recipes_own_set_is_not_here_nothing_is_guessed(trained: Trained) -> None:
    away = {"name": "cifar10", "path": "nowhere"}
    asked = trained.question(spec(data=away), weights="last")
    other = asked.recipe.data.model_copy(update={"name": "digits", "path": None})
    with pytest.raises(
        UserError, match=r"leaves data.size, data.channels, data.mean, data.std to its data set 'cifar10'"
    ):
        evaluate_weights(replace(asked, data=other))
    known = {"size": 8, "channels": 1, "mean": (0.3,), "std": (0.4,)}
    asked = trained.question(spec(data=away | known), weights="last")
    found = evaluate_weights(replace(asked, data=other.model_copy(update=known)))
    assert "class names are not compared" in found["notes"][0]


def test_another_resolution_resizes_position_embeddings_and_says_so(trained: Trained) -> None:
    asked = trained.question(weights="last")
    found = evaluate_weights(replace(asked, resolution=16))
    assert found["size"] == 16
    assert found["weights"]["last"]["resized"] == ["pos_embed"]
    for size, said in ((9, "take 8 or 10"), (1, "hold no patch")):
        with pytest.raises(UserError, match=said) as error:
            evaluate_weights(replace(asked, resolution=size))
        assert "--resolution" in str(error.value)


def test_an_official_file_holds_both_kinds_of_weights(trained: Trained, tmp_path: Path) -> None:
    ours = trained.question()
    sets = {path.stem: load_file(path) for path in ours.files}
    torch.save({"model": sets["last"], "model_ema": sets["ema"], "epoch": 1}, tmp_path / "official.pth")
    theirs = replace(ours, files=(tmp_path / "official.pth",))
    one, other = evaluate_weights(ours), evaluate_weights(theirs)
    assert [one["weights"][kind]["loss"] for kind in ("last", "ema")] == [
        other["weights"][kind]["loss"] for kind in ("last", "ema")
    ]
    torch.save(sets["last"], tmp_path / "bare.pth")
    bare = replace(ours, files=(tmp_path / "bare.pth",))
    assert list(evaluate_weights(bare)["weights"]) == ["last"]
    with pytest.raises(UserError, match="no `ema` weights"):
        evaluate_weights(replace(bare, weights="ema"))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"args": {"embed_dim": 16, "depth": 2}}, "not in the model"),
        ({"args": {"embed_dim": 16, "depth": 4}}, "missing"),
        ({"args": {"embed_dim": 8, "depth": 3}}, "another shape"),
        ({"args": {"embed_dim": 16, "depth": 3, "num_classes": 12}}, "10 classes, the model has 12"),
        ({"name": "resnet18", "args": {}}, "no key of this ResNet"),
    ],
)
def test_weights_of_another_model_are_refused(
    trained: Trained, tmp_path: Path, model: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as error:
        evaluate_weights(trained.question(spec(model=model)))
    assert "last.safetensors" in str(error.value)


def test_broken_images_are_left_out_and_named_or_stop_the_evaluation(trained: Trained, tmp_path: Path) -> None:
    folder = write_digits(tmp_path / "files")
    victim = sorted((folder / "test" / "3").iterdir())[0]
    victim.write_bytes(b"no image")
    asked = trained.question()
    data = asked.recipe.data.model_copy(update={"name": "image_folder", "path": str(folder), "size": 8, "channels": 1, "mean": (0.3,),
                                                "std": (0.4,)})  # fmt: skip
    with pytest.raises(SlwsError, match=f"3/{victim.name}"):
        evaluate_weights(replace(asked, recipe=asked.recipe.model_copy(update={"data": data})))
    skipping = asked.recipe.model_copy(update={"data": data.model_copy(update={"on_broken": "skip"})})
    found = evaluate_weights(replace(asked, recipe=skipping))
    assert list(found["broken"]) == [f"3/{victim.name}"]
    assert found["weights"]["last"]["n"] == found["samples"] - 1
    raw = {
        "recipe": data_json(asked.recipe, data),
        "root": ".",
        "files": [str(path) for path in asked.files],
        "data": None,
        "gpus": 0,
    }
    assert f"3/{victim.name}" in told(answer, raw)["failed"]


def data_json(recipe: Recipe, data: DataSpec) -> dict[str, Any]:
    raw: dict[str, Any] = recipe.model_copy(update={"data": data}).model_dump(mode="json")
    return raw


def said(labels: list[int], predicted: list[int], confidence: list[float], outputs: int = 3) -> Predictions:
    right = np.array(labels) == np.array(predicted)
    return Predictions(np.array(labels), np.array(predicted), right, np.array(confidence), 0.5, 10.0, outputs)


def test_figures_of_a_handful_of_samples_are_those_counted_by_hand() -> None:
    found = summary(said([0, 0, 0, 1], [0, 0, 1, 1], [0.9, 0.8, 0.7, 0.6]), ("a", "b", "c"))
    assert found["top1"] == 75.0
    a, b, c = found["per_class"]
    assert a == {"class": "a", "n": 3, "recall": pytest.approx(200 / 3), "precision": 100.0, "f1": pytest.approx(80.0)}
    assert (b["n"], b["recall"], b["precision"]) == (1, 100.0, 50.0)
    assert (c["n"], c["recall"], c["precision"]) == (0, None, None)
    assert found["confusion"] == [[0, 0, 2], [0, 1, 1], [1, 1, 1]]
    # each sample has a bin of its own: |0.9 - 1| + |0.8 - 1| + |0.7 - 0| + |0.6 - 1| over 4
    assert found["ece"] == pytest.approx(100 * 1.4 / 4)
    json.dumps(found, allow_nan=False)


def test_the_calibration_error_is_that_of_a_plain_loop() -> None:
    draws = np.random.Generator(np.random.PCG64(3))
    confidence, right = draws.uniform(0.1, 1.0, 500), draws.uniform(size=500) < 0.6
    _, ece = calibration(confidence, right)
    expected = 0.0
    for m in range(1, 16):
        inside = [(c, r) for c, r in zip(confidence, right, strict=True) if (m - 1) / 15 < c <= m / 15]
        if inside:
            expected += len(inside) / 500 * abs(sum(r for _, r in inside) - sum(c for c, _ in inside)) / len(inside)
    assert ece == pytest.approx(expected, rel=1e-12)


def test_bins_are_closed_above_and_hold_every_sample() -> None:
    bins, ece = calibration(np.array([1.0, 3 / 15, 0.0]), np.array([True, True, False]))
    assert [i for i, one in enumerate(bins) if one["n"]] == [0, 2, 14]
    assert ece == pytest.approx((1 - 0.2) / 3)
    assert math.isnan(bins[5]["accuracy"])


def test_a_model_that_says_nothing_finite_gives_no_number() -> None:
    found = summary(replace(said([0, 1], [0, 0], [math.nan, math.nan]), loss=math.nan), ("a", "b", "c"))
    assert (found["loss"], found["ece"], found["top1"]) == (None, None, 50.0)
