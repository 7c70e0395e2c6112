"""Tokens that stay permuted between layers: equal to the published form bit by bit, and only where nobody looks on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from models.families import SMALL, small
from shuffle.published import drawn_orders, four_gathers
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.autograd import gradgradcheck
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from slws_lab.models import ShuffleMamba, VisionMamba
from slws_lab.shuffle import attach, block_call
from slws_lab.shuffle.gather import Permutation, reorder
from slws_lab.shuffle.pattern import Pattern

DEPTH, SEED = 4, 7
TOGETHER = {"permutation": "sample", "window": 3, "exempt": (0, -2)}
Found = tuple[Tensor, ...]


def family(case: str = "shufflemamba", **own: object) -> VisionMamba:
    return small(case, **{"depth": DEPTH, "drop_path_rate": 0.3, "scan": "chunked", **own}).train()


def images(model: VisionMamba, batch: int = 3) -> Tensor:
    return torch.randn(batch, *model.config.image_shape, generator=torch.Generator().manual_seed(1))


def results(model: VisionMamba, given: Tensor, *, seed: int = 5) -> Found:
    """Output and all gradients of a training forward; drop path draws from the seed."""
    given = given.clone().requires_grad_()
    torch.manual_seed(seed)
    out = model(given)
    return out.detach(), *torch.autograd.grad(out.square().sum(), [given, *model.parameters()])


def shuffled(model: VisionMamba, given: Tensor, rate: float, **pattern: object) -> Found:
    with attach(model, model.layers, [rate] * DEPTH, torch.Generator().manual_seed(SEED), **pattern):
        return results(model, given)


def published(model: VisionMamba, given: Tensor, rate: float, **pattern: object) -> Found:
    orders = drawn_orders(SEED, rate, DEPTH, (len(given), model.num_tokens), Pattern(**pattern))
    assert any(order is not None for order in orders)
    with four_gathers(list(model.layers), orders):
        return results(model, given)


def same(found: Found, expected: Found) -> bool:
    return all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Count the changes of order."""
    calls: list[int] = []

    def counting(streams: object, by: Permutation) -> object:
        calls.append(1)
        return reorder(streams, by)

    with monkeypatch.context() as watched:
        watched.setattr(block_call, "reorder", counting)
        yield calls


@pytest.mark.parametrize("case", SMALL)
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(("rate", "pattern"), [(1.0, {}), (0.6, {}), (0.6, TOGETHER)])
def test_outputs_and_gradients_of_every_family_equal_the_published_form_bitwise(
    case, recompute, rate, pattern, monkeypatch
):
    model = family(case)
    given = images(model)
    expected = published(model, given, rate, **pattern)
    model.set_grad_checkpointing(recompute)
    with counted(monkeypatch) as calls:
        found = shuffled(model, given, rate, **pattern)
    assert same(found, expected)
    if rate == 1.0 and not recompute:
        assert len(calls) == DEPTH + 1


@pytest.mark.parametrize("pattern", [{"permutation": "sample"}, {"window": 4}, {"exempt": (0,)}])
def test_each_switch_alone_equals_the_published_form_bitwise(pattern):
    model = family()
    given = images(model)
    assert same(shuffled(model, given, 1.0, **pattern), published(model, given, 1.0, **pattern))


def test_there_is_one_gather_for_each_change_of_order(monkeypatch):
    model = family()
    order = torch.randperm(model.num_tokens)
    with attach(model, model.layers, [0.0] * DEPTH) as shuffle:
        for drawn, changes in (("0000", 0), ("1000", 2), ("0110", 3), ("1011", 5), ("1111", 5)):
            shuffle.fix([order if each == "1" else None for each in drawn])
            with counted(monkeypatch) as calls:
                model(images(model))
            assert len(calls) == changes, drawn


def keep(seen: list[object]) -> Callable[..., None]:
    return lambda module, *given: (
        seen.append(given) if isinstance(module, nn.Module) and hasattr(module, "mixer") else None
    )


OBSERVERS = {
    "forward hook": lambda model, seen: model.layers[1].register_forward_hook(keep(seen)),
    "forward hook with keywords": lambda model, seen: model.layers[1].register_forward_hook(keep(seen), with_kwargs=True),
    "pre-hook": lambda model, seen: model.layers[2].register_forward_pre_hook(keep(seen), prepend=True),
    "backward hook": lambda model, seen: model.layers[1].register_full_backward_hook(keep(seen)),
    "backward pre-hook": lambda model, seen: model.layers[2].register_full_backward_pre_hook(keep(seen)),
    "global hook": lambda model, seen: register_module_forward_hook(keep(seen)),
    "global pre-hook": lambda model, seen: register_module_forward_pre_hook(keep(seen)),
}  # fmt: skip


def flat(seen: object) -> Iterator[Tensor]:
    if isinstance(seen, Tensor):
        yield seen
    elif isinstance(seen, list | tuple):
        for each in seen:
            yield from flat(each)


@pytest.mark.parametrize("observer", OBSERVERS)
def test_whoever_looks_at_a_block_sees_what_the_published_form_shows(observer, monkeypatch):
    model = family()
    given = images(model)
    expected, seen, theirs = published(model, given, 1.0), [], []
    shuffle = attach(model, model.layers, [1.0] * DEPTH, torch.Generator())
    for number, watched in enumerate((False, True, False)):  # decided anew at each forward
        shuffle._generator.manual_seed(SEED)
        with OBSERVERS[observer](model, seen) if watched else nullcontext(), counted(monkeypatch) as calls:
            assert same(results(model, given), expected), number
        assert (len(calls) > DEPTH + 1) == watched
    shuffle.remove()
    orders = drawn_orders(SEED, 1.0, DEPTH, (len(given), model.num_tokens), Pattern())
    looks, shuffles = (lambda: OBSERVERS[observer](model, theirs)), (lambda: four_gathers(list(model.layers), orders))
    hooks = (looks, shuffles) if observer == "pre-hook" else (shuffles, looks)  # whoever comes first sees tokens first
    with hooks[0](), hooks[1]():
        results(model, given)
    mine, theirs = list(flat(seen)), list(flat(theirs))
    assert mine
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


class ReadsBetween(ShuffleMamba):
    """A user's model that looks at what its layers hand on."""

    def streams(self, tokens: Tensor) -> Iterator[Tensor]:
        self.first_tokens = []
        for stream in super().streams(tokens):
            self.first_tokens.append(stream[:, 0].detach())
            yield stream


def test_a_subclass_that_reads_between_layers_does_not_inherit_the_promise():
    plain = family()
    model = ReadsBetween(plain.config).train()
    model.load_state_dict(plain.state_dict())
    given = images(model)
    orders = drawn_orders(SEED, 1.0, DEPTH, (len(given), model.num_tokens), Pattern())
    with four_gathers(list(model.layers), orders):
        expected = results(model, given), model.first_tokens
    assert same(shuffled(model, given, 1.0), expected[0])
    assert all(torch.equal(a, b) for a, b in zip(model.first_tokens, expected[1], strict=True))


def test_a_function_set_on_the_model_itself_ends_the_promise():
    model, seen = family(), []
    inner = model.streams

    def streams(tokens: Tensor) -> Iterator[Tensor]:
        for stream in inner(tokens):
            seen.append(stream.detach())
            yield stream

    model.streams = streams
    given = images(model)
    first = published(model, given, 1.0)
    expected, seen[:] = list(seen), []
    assert same(shuffled(model, given, 1.0), first)
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))


def test_layers_that_are_not_all_or_not_in_their_place_are_restored_each():
    for blocks in (slice(1, 3), slice(None, None, -1), slice(None, None, 2)):
        model = family()
        given, chosen = images(model), list(model.layers)[blocks]
        orders = drawn_orders(SEED, 1.0, len(chosen), (len(given), model.num_tokens), Pattern())
        with four_gathers(chosen, orders):
            expected = results(model, given)
        with attach(model, chosen, [1.0] * len(chosen), torch.Generator().manual_seed(SEED)):
            assert same(results(model, given), expected)


def test_a_model_that_is_cut_after_attaching_ends_in_order():
    model = family()
    given = images(model)
    orders = drawn_orders(SEED, 1.0, DEPTH, (len(given), model.num_tokens), Pattern())
    shuffle = attach(model, model.layers, [1.0] * DEPTH, torch.Generator().manual_seed(SEED))
    model.prune_intermediate_layers([1], prune_head=False)
    found = results(model, given)
    shuffle.remove()
    with four_gathers(list(model.layers), orders[:2]):
        assert same(found, results(model, given))


def test_a_block_in_eval_mode_is_passed_in_order_amid_the_others():
    model = family()
    model.layers[1].eval()
    given = images(model)
    orders = drawn_orders(SEED, 1.0, DEPTH, (len(given), model.num_tokens), Pattern())
    orders[1] = None
    with four_gathers(list(model.layers), orders):
        expected = results(model, given)
    assert same(shuffled(model, given, 1.0), expected)


def test_feature_taps_of_timm_see_tokens_in_order():
    net = FeatureGetterNet(family(drop_path_rate=0.0), out_indices=[0, 2], norm=False).train()
    given, blocks = images(net.model), list(net.model.layers)
    orders = drawn_orders(SEED, 1.0, len(blocks), (len(given), net.model.num_tokens), Pattern())
    with four_gathers(blocks, orders):
        expected = net(given)
    with attach(net, blocks, [1.0] * len(blocks), torch.Generator().manual_seed(SEED)):
        assert all(torch.equal(a, b) for a, b in zip(net(given), expected, strict=True))


@pytest.mark.parametrize("recompute", [False, True])
def test_a_block_that_raises_amid_permuted_tokens_leaves_no_trace(recompute, monkeypatch):
    model = family()
    model.set_grad_checkpointing(recompute)
    given, generator = images(model), torch.Generator()
    attach(model, model.layers, [1.0] * DEPTH, generator)
    generator.manual_seed(SEED)
    expected = results(model, given)
    broken = type(model.layers[2].mixer)
    out = model(given).sum()
    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        patched.setattr(broken, "forward", lambda self, x: 1 / 0)
        if recompute:
            out.backward()
        model(given)
    generator.manual_seed(SEED)
    assert same(results(model, given), expected)


def test_several_forwards_before_one_backward_are_recomputed_as_they_were():
    model, found = family(), []
    for recompute in (False, True):
        model.set_grad_checkpointing(recompute)
        with attach(model, model.layers, [0.6] * DEPTH, torch.Generator().manual_seed(SEED), **TOGETHER):
            torch.manual_seed(0)
            outputs = [model(images(model) + i) for i in range(3)]
            with torch.no_grad():
                model.eval()(images(model))
            model.train()
            found.append(torch.autograd.grad(sum(out.square().sum() for out in outputs), list(model.parameters())))
    assert same(*found)


def test_compiled_blocks_have_one_graph_whatever_is_drawn():
    plain = family(depth=2, drop_path_rate=0.0)
    model = copy.deepcopy(plain)
    torch._dynamo.reset()
    counters.clear()
    shuffle, oracle = (attach(each, each.layers, [0.0] * 2, torch.Generator()) for each in (model, plain))
    for layer in model.layers:
        layer.forward = torch.compile(layer.forward, backend="eager")
    order, graphs = torch.randperm(model.num_tokens), []
    for drawn in ("00", "11", "10", "01"):
        for each in (shuffle, oracle):
            each.fix([order if one == "1" else None for one in drawn])
        assert same(results(model, images(model)), results(plain, images(plain)))
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] == 2  # without a residual, and with one
    assert set(graphs) == {2}


def test_the_gathers_own_backward_can_be_differentiated_again():
    by = Permutation.of(torch.randperm(5))
    streams = [torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert gradgradcheck(lambda *given: reorder(given, by), streams)


def test_a_stream_that_nobody_uses_gets_no_gradient():
    by = Permutation.of(torch.randperm(5))
    used, unused = (torch.randn(2, 5, 3, requires_grad=True) for _ in range(2))
    reorder((used, None, unused), by)[0].sum().backward()
    assert torch.equal(used.grad, torch.ones_like(used))
    assert unused.grad is None


def test_functional_gradients_of_torch_pass_through(nets, tokens):
    net = nets["residual"]()
    shuffle = attach(net, net.blocks, [0.0] * DEPTH)
    shuffle.fix([torch.randperm(tokens.shape[1]) for _ in range(DEPTH)])
    weights = dict(net.named_parameters())
    expected = torch.autograd.grad(net(tokens).sum(), list(weights.values()))
    found = torch.func.grad(lambda own: torch.func.functional_call(net, own, (tokens,)).sum())(weights)
    torch.testing.assert_close(list(found.values()), list(expected))


def test_a_parameter_that_a_model_returns_too_collects_no_hooks(nets, tokens):
    class WithScale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.scale = nets["order_sensitive"](), nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.net(x), self.scale

    model = WithScale()
    attach(model, model.net.blocks, [0.5] * DEPTH, torch.Generator())
    for _ in range(3):
        model(tokens)[0].sum().backward()
    assert not model.scale._backward_hooks
