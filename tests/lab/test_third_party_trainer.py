"""A trainer of somebody else's, as its registry has it, as a study: OpenCLIP's, on digits with captions."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import Folder, make_project, numbers, on_one_core, run_slws

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
OPEN_CLIP = CACHE / "slws_lab" / "open_clip_torch-3.3.0"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

RECIPE = """\
kind: command
name: open_clip
command: "{python} -m open_clip_train.main --model local-dir:model --train-data train.tsv --val-data val.tsv --csv-img-key image
  --csv-caption-key caption --batch-size 30 --epochs {train.epochs} --warmup 0 --lr {train.lr} --workers 0 --precision fp32
  --device {device} --seed {seed} --zeroshot-frequency 0 --logs {run.dir} --name run"
fields:
  train.lr: {type: float, value: 1e-3, min: 0}
  train.epochs: {type: int, value: 2, min: 1}
metrics:
  file: run/checkpoints/results.jsonl
  step: epoch
  names: {val/loss: clip_val_loss, val/recall: image_to_text_R@5}
epochs: train.epochs
keep: [run/checkpoints/results.jsonl]
env: {PYTHONPATH: $OPEN_CLIP, HF_HUB_OFFLINE: "1"}
"""
STUDY = """\
name: open_clip
question: Does a tenfold learning rate help?
recipe: ../experiments/tiny.yaml
factors:
  train.lr: [1e-3, 1e-2]
designs:
  - grid: [train.lr]
seeds: 1
metric: {name: val/loss, goal: minimize}
resources: {gpus: 0}
"""
MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 4},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


def write_data(folder: Path) -> None:
    """Write digits as PNG images with captions, and the description of a tiny model."""
    from PIL import Image
    from sklearn.datasets import load_digits

    rows: dict[str, list[str]] = {"train": ["image\tcaption"], "val": ["image\tcaption"]}
    (folder / "images").mkdir()
    digits = load_digits()
    for i, (pixels, label) in enumerate(zip(digits.images[:240], digits.target, strict=False)):
        Image.fromarray((pixels * 15).astype("uint8")).resize((16, 16)).save(folder / f"images/{i}.png")
        rows["train" if i % 4 else "val"].append(f"images/{i}.png\tthe digit {WORDS[label]}")
    for name, lines in rows.items():
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    (folder / "model").mkdir()
    (folder / "model/open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": {}}))


@pytest.mark.thirdparty
@pytest.mark.skipif(
    not OPEN_CLIP.is_dir(), reason="OpenCLIP's trainer is not installed: SLWS_TEST_SERVERS=1 make test does it"
)
def test_open_clips_trainer_gets_study_records_and_table_without_a_change(tmp_path: Path) -> None:
    folder: Folder = make_project(tmp_path / "project", STUDY, RECIPE)
    write_data(folder.path)
    run_slws(folder, "run", "tiny", env={**os.environ, "OPEN_CLIP": str(OPEN_CLIP)}, **on_one_core())
    rows = numbers(folder.path / "reports/open_clip/records.csv")
    assert [(row["train.lr"], row["status"]) for row in rows] == [("0.001", "finished"), ("0.01", "finished")]
    for row in rows:
        (results,) = folder.workspace.glob(f"runs/{row['run_id']}/attempt-1/files/run/checkpoints/*")
        last = json.loads(results.read_text().splitlines()[-1])
        assert (float(row["val/loss"]), float(row["val/recall"])) == (last["clip_val_loss"], last["image_to_text_R@5"])
    table = (folder.path / "reports/open_clip/table.md").read_text()
    assert f"{float(rows[1]['val/loss']):.4f}" in table
