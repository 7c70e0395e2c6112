"""Whole steps recorded and replayed: on the CPU by a tape of torch's operators that behaves as a CUDA graph does, on a GPU as one."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from training_runs import MEASURED, Curve, Train
from training_runs import spec as tiny

from slws_lab.errors import UserError
from slws_lab.spec import RunSpec, resolve_stages
from slws_lab.training import Interrupted, Surroundings, graph, train
from slws_lab.training.optimizer import Objective
from slws_lab.training.stage import Stage
from slws_lab.training.surroundings import Progress

ASKS = {
    torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.masked_select, torch.ops.aten._unique2,
    torch.ops.aten.equal, torch.ops.aten.is_nonzero,
}  # fmt: skip
STRONG = {"augment": {"crop": 1, "flip": 0.5, "erase": 0.5, "mixup": 0.8, "cutmix": 1.0}}
SCAN = {"scan": "chunked"}  # of torch's own operators, which a tape can record
NO_SHUFFLE = {"schedule": "none"}


class NoQuestions(TorchDispatchMode):
    """Refuses what on a GPU would wait for a value."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        asks_by_mask = func.overloadpacket is torch.ops.aten.index and any(
            index.dtype == torch.bool for index in tree_leaves(args[1]) if index is not None
        )
        if func.overloadpacket in ASKS or asks_by_mask:
            raise RuntimeError(f"{func} waits for a value")
        return func(*args, **(kwargs or {}))


class Tape(NoQuestions):
    """Records operators on fixed memory, without any lasting effect, and replays them; Python's own numbers are frozen in it."""

    replays = 0

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def run(self, compute: Callable[[], None]) -> None:
        compute()

    def record(self, compute: Callable[[], None]) -> Callable[[], None]:
        state = torch.get_rng_state()
        with self:
            compute()
        torch.set_rng_state(state)
        with torch.no_grad():
            for tensor, value in self.before.values():
                tensor.copy_(value)
        return self.replay

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        by_name = zip(func._schema.arguments, args, strict=False)
        written = [value for place, value in by_name if place.alias_info is not None and place.alias_info.is_write]
        for tensor in tree_leaves(written):
            self.before.setdefault(id(tensor), (tensor, tensor.clone()))
        output = super().__torch_dispatch__(func, types, args, kwargs)
        self.calls.append((func, args, given, output))
        return output

    @torch.no_grad()
    def replay(self) -> None:
        Tape.replays += 1
        for func, args, kwargs, output in self.calls:
            for old, new in zip(tree_leaves(output), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def spec(data: dict[str, Any] = {}, train: dict[str, Any] = {}, **changes: Any) -> RunSpec:  # noqa: B006
    """Return the tiny run on a quarter of the digits: an epoch has eight whole batches and a smaller one."""
    return tiny(data={"label_fraction": 0.25, **data}, train={"batch_size": 32, **train}, **changes)


@pytest.fixture
def taped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(graph.RECORDERS, "cpu", Tape)
    monkeypatch.setattr(Tape, "replays", 0)


def stage(device: str, folder: Path, run: RunSpec, **more: Any) -> Stage:
    """Return a training's only stage, before its first step."""
    around = Surroundings(folder, torch.device(device), lambda *_: None, **more)
    return Stage(run.seed, resolve_stages(run)[0], around, Progress(), None, None)


def equal_weights(first: Path, second: Path) -> bool:
    pairs = [
        (load_file(first / f"{name}.safetensors"), load_file(second / f"{name}.safetensors"))
        for name in ("last", "ema")
    ]
    return all(a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a) for a, b in pairs)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shuffle": NO_SHUFFLE, "data": STRONG},
        {"shuffle": NO_SHUFFLE, "train": {"precision": "bf16", "layer_decay": 0.7, "warmup_epochs": 1}},
    ],
    ids=["shuffle", "mixing", "bf16 and layer decay"],
)  # fmt: skip
def test_a_recorded_step_changes_no_bit(changes: dict[str, Any], taped: None, run_tiny: Train, tmp_path: Path) -> None:
    """Drop path, clipping, the average and an epoch's smaller last batch are in each."""
    run = spec(**changes)
    _, plain = run_tiny(run, "plain", **SCAN)
    _, recorded = run_tiny(run, "recorded", cuda_graph=True, **SCAN)
    assert Tape.replays == 2 * 8 - graph.WARM_UP
    assert recorded == plain
    assert equal_weights(tmp_path / "plain", tmp_path / "recorded")


@pytest.mark.parametrize("stops_after", [2, 8, 11])
def test_a_resumed_recorded_run_ends_like_an_undisturbed_one(
    stops_after: int, taped: None, run_tiny: Train, tmp_path: Path
) -> None:
    """Nine steps an epoch: stopped before anything was recorded, before the smaller last batch, and in the next epoch."""
    _, undisturbed = run_tiny(spec(), "undisturbed", **SCAN)
    steps, curve = itertools.count(), Curve()
    with pytest.raises(Interrupted):
        run_tiny(spec(), "resumed", lambda: next(steps) >= stops_after, curve, cuda_graph=True, **SCAN)
    run_tiny(spec(), "resumed", curve=curve, cuda_graph=True, **SCAN)
    assert curve == undisturbed
    assert equal_weights(tmp_path / "undisturbed", tmp_path / "resumed")


def test_a_checkpoint_serves_with_and_without_the_graph(taped: None, run_tiny: Train, tmp_path: Path) -> None:
    _, undisturbed = run_tiny(spec(), "undisturbed", **SCAN)
    steps, curve = itertools.count(), Curve()
    with pytest.raises(Interrupted):
        run_tiny(spec(), "mixed", lambda: next(steps) >= 7, curve, **SCAN)
    run_tiny(spec(), "mixed", curve=curve, cuda_graph=True, **SCAN)
    assert curve == undisturbed
    assert equal_weights(tmp_path / "undisturbed", tmp_path / "mixed")


class Curious(nn.Module):
    """A model whose forward asks for a value, as some do to check their input."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.flatten(1).sum().item() < 1e9
        return self.head(images.flatten(1))


def test_a_tape_refuses_a_step_that_asks_for_a_value() -> None:
    """So the trainings above have shown that ours does not."""
    model = Curious()
    step = graph.Recorded(lambda images, _: model(images).sum(), Tape(), 4)
    for _ in range(graph.WARM_UP):
        step(torch.ones(4, 1, 8, 8), torch.zeros(4))
    with pytest.raises(RuntimeError, match="_local_scalar_dense"):
        step(torch.ones(4, 1, 8, 8), torch.zeros(4))


@pytest.mark.parametrize(
    ("changes", "more", "reason"),
    [
        ({}, {}, "a CPU has none"),
        ({"train": {"accumulate": 2}}, {}, "several parts"),
        ({"train": {"ranks": 2}}, {}, "several parts"),
        ({}, {"grad_checkpointing": True}, "computed again"),
        (
            {"shuffle": {"schedule": "constant", "max_rate": 0.5, "permutation": "sample"}},
            {},
            "a permutation of its own",
        ),
    ],
)
def test_what_cannot_be_recorded_is_computed_as_usual_and_says_why(
    changes: dict[str, Any], more: dict[str, Any], reason: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if reason != "a CPU has none":
        request.getfixturevalue("taped")
    around = Surroundings(tmp_path, torch.device("cpu"), lambda *_: None, cuda_graph=True, **more)
    assert reason in graph.obstacle(spec(**changes), around, nn.Identity())


def test_a_foreign_model_is_shuffled_without_a_graph(taped: None, tmp_path: Path) -> None:
    around = Surroundings(tmp_path, torch.device("cpu"), lambda *_: None, cuda_graph=True)
    assert "how many tokens" in graph.obstacle(spec(), around, Curious())
    assert not graph.obstacle(spec(shuffle=NO_SHUFFLE), around, Curious())


def test_the_log_says_that_there_is_no_graph(run_tiny: Train, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run_tiny(spec(train={"epochs": 1}), cuda_graph=True)
    assert "no CUDA graph: a CPU has none" in caplog.text


@pytest.mark.parametrize("changes", [{}, {"data": STRONG}], ids=["shuffle", "mixing"])
def test_no_part_of_a_step_waits_for_a_value(changes: dict[str, Any], tmp_path: Path) -> None:
    """From a batch of the loader to the sum of losses."""
    torch.set_num_threads(1)
    at_work = stage("cpu", tmp_path, spec(**changes), **SCAN)
    for parts in itertools.islice(at_work._batches(0, 0), 2):
        with NoQuestions():
            at_work._step(parts, spare=False)
    assert at_work.loss_sum > 0


def test_a_forward_on_a_gpu_reads_nothing_from_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown without a GPU, on tensors that only claim to be on one; they have no backward."""
    devices: set[str] = set()

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            output = func(*args, **(kwargs or {}))
            devices.update(t.device.type for t in tree_leaves((args, kwargs, output)) if isinstance(t, torch.Tensor))
            return output

    monkeypatch.setattr("torch.__future__._overwrite_module_params_on_conversion", True)
    with torch.device("meta"):
        arguments = {"img_size": 8, "in_chans": 1, "patch_size": 2, "num_classes": 10, "embed_dim": 16, "depth": 2}
        model = timm.create_model("shufflemamba_micro", drop_path_rate=0.2, scan="chunked", **arguments).train()
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cuda")
        images, labels = torch.zeros(4, 1, 8, 8, device="cuda"), torch.zeros(4, dtype=torch.long, device="cuda")
        with Seen():
            images, targets = Objective(tiny(data=STRONG).data.augment, 0.1, 10).mix(images, labels)
            Objective(tiny().data.augment, 0.1, 10)(model(images), targets)
    assert devices == {"cuda"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("changes", [{}, {"data": STRONG}, {"train": {"precision": "bf16"}}])
def test_on_a_gpu_a_step_waits_for_nothing(changes: dict[str, Any], tmp_path: Path) -> None:
    at_work = stage("cuda", tmp_path, spec(**changes), scan="auto")
    parts = iter(at_work._batches(0, 0))
    at_work.net.train()
    for _ in range(2):
        at_work._step(next(parts), spare=False)
    torch.cuda.synchronize()
    try:
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(3):
            at_work._step(next(parts), spare=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "changes",
    [{}, {"data": STRONG, "shuffle": NO_SHUFFLE}, {"train": {"precision": "bf16"}}],
)
def test_on_a_gpu_a_graph_changes_no_bit(changes: dict[str, Any], tmp_path: Path) -> None:
    curves: dict[bool, Curve] = {}
    for recorded in (False, True):
        curve = curves[recorded] = Curve()

        def report(epoch: int, metrics: dict[str, float], curve: Curve = curve) -> None:
            curve[epoch] = {name: value for name, value in metrics.items() if name not in MEASURED}

        around = Surroundings(
            tmp_path / str(recorded), torch.device("cuda"), report, scan="triton", cuda_graph=recorded
        )
        train(spec(**changes), around)
    assert curves[True] == curves[False]
    assert equal_weights(tmp_path / "True", tmp_path / "False")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_model_that_asks_for_values_is_refused_in_one_message() -> None:
    model = Curious().cuda()
    step = graph.Recorded(lambda images, _: model(images).sum(), graph.CudaGraph(), 4)
    images, targets = torch.ones(4, 1, 8, 8, device="cuda"), torch.zeros(4, device="cuda")
    for _ in range(graph.WARM_UP):
        step(images, targets)
    with pytest.raises(UserError, match="cannot be recorded"):
        step(images, targets)
