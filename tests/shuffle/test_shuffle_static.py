"""The static form: equal to the one that draws at each forward, in fixed memory, and one graph whatever is drawn."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from models.families import SMALL, small
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.fx.experimental.proxy_tensor import make_fx

from slws_lab.models import VisionMamba
from slws_lab.shuffle import LayerShuffle, attach
from slws_lab.shuffle.chain import PROMISE

DEPTH = 3
TOGETHER = {"permutation": "sample", "window": 3, "exempt": (0, -2)}
Found = tuple[Tensor, ...]


def family(case: str = "shufflemamba", **own: object) -> VisionMamba:
    return small(case, **{"depth": DEPTH, "drop_path_rate": 0.3, "scan": "chunked", **own}).train()


def images(model: VisionMamba, batch: int = 3) -> Tensor:
    return torch.randn(batch, *model.config.image_shape, generator=torch.Generator().manual_seed(1))


def results(model: nn.Module, given: Tensor) -> Found:
    """Output and all gradients of a training forward; drop path draws from a seed."""
    given = given.clone().requires_grad_()
    torch.manual_seed(5)
    out = model(given)
    return out.detach(), *torch.autograd.grad(out.square().sum(), [given, *model.parameters()])


def same(found: Found, expected: Found) -> bool:
    return all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))


def static(model: VisionMamba, rate: float = 0.6, batch: int = 3, **own: object) -> LayerShuffle:
    draws = torch.Generator().manual_seed(2)
    return attach(model, model.layers, [rate] * DEPTH, draws, static=(batch, model.num_tokens), **own)


@pytest.mark.parametrize("case", SMALL)
@pytest.mark.parametrize("pattern", [{}, TOGETHER])
@pytest.mark.parametrize("recompute", [False, True])
def test_outputs_gradients_and_draws_are_those_of_the_other_form(case, pattern, recompute):
    model, found = family(case), []
    given = images(model)
    model.set_grad_checkpointing(recompute)
    for size in (None, (3, model.num_tokens)):
        draws, history = torch.Generator().manual_seed(2), []
        with attach(model, model.layers, [0.6] * DEPTH, draws, static=size, **pattern) as shuffle:
            for scale in (1.0, 1.0, 0.5):
                shuffle.scale = scale
                if size is not None:
                    shuffle.redraw()
                history += [*results(model, given), torch.tensor(shuffle.last_draw), draws.get_state()]
        found.append(history)
    assert same(*found)


@pytest.mark.parametrize("name", ["order_sensitive", "residual", "residual_keyword"])
@pytest.mark.parametrize("pattern", [{}, TOGETHER])
def test_foreign_models_are_restored_after_each_block(nets, tokens, name, pattern):
    net, found = nets[name](), []
    for size in (None, tokens.shape[:2]):
        with attach(net, net.blocks, [0.6] * 4, torch.Generator().manual_seed(3), static=size, **pattern) as shuffle:
            if size is not None:
                shuffle.redraw()
            found.append(results(net, tokens))
            assert any(shuffle.last_draw)
            if size is not None:
                with pytest.raises(ValueError, match="layer 0 got 3 x 4 tokens; the shuffle was attached for"):
                    net(tokens[:, :4])
    assert same(*found)


def test_eval_mode_and_keys_are_untouched():
    model = family()
    given, keys = images(model), list(model.state_dict())
    expected = model.eval()(given)
    shuffle = static(model, rate=1.0)
    shuffle.redraw()
    assert list(model.state_dict()) == keys
    assert list(model.named_buffers()) == []
    assert torch.equal(model(given), expected)
    assert shuffle.last_draw == (False,) * DEPTH
    assert not torch.equal(model.train()(given), expected)
    assert shuffle.last_draw == (True,) * DEPTH


@pytest.fixture(params=[False, True], ids=["restored", "chained"])
def net(nets, request) -> nn.Module:
    """A network with a residual stream whose class promises, or does not, that its blocks hand tokens on."""
    found = nets["residual"]()
    found.__class__ = type("Net", (type(found),), {PROMISE: "blocks"} if request.param else {})
    return found


def test_a_recorded_forward_and_backward_follow_the_draws(net, tokens):
    shuffle, outputs = attach(net, net.blocks, [0.5] * 4, static=tokens.shape[:2], **TOGETHER), []
    shuffle.redraw()
    # The record holds the very tensors that were read, as a CUDA graph holds their addresses.
    recorded = make_fx(lambda x: torch.autograd.grad(net(x).square().sum(), x))(tokens.requires_grad_())
    for _ in range(6):
        shuffle.redraw()
        (gradient,) = recorded(tokens)
        assert torch.equal(gradient, torch.autograd.grad(net(tokens).square().sum(), tokens)[0])
        outputs.append(tuple(gradient.flatten().tolist()))
    assert len(set(outputs)) > 1


def test_a_whole_model_compiles_to_one_graph_that_follows_the_draws():
    torch._dynamo.reset()
    counters.clear()
    model = family(depth=2, drop_path_rate=0.0)
    draws = torch.Generator().manual_seed(2)
    shuffle = attach(model, model.layers, [0.5] * 2, draws, static=(3, model.num_tokens))
    compiled, given, seen = torch.compile(model, fullgraph=True, backend="eager"), images(model), {}
    for _ in range(6):
        shuffle.redraw()
        found = results(compiled, given)
        assert same(found, results(model, given))
        seen[shuffle.last_draw] = tuple(found[0].flatten().tolist())
    assert len(set(seen.values())) == len(seen) > 1
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


def test_given_permutations_replace_the_draws_from_the_next_redraw_on():
    model, found = family(), []
    given, order = images(model), torch.randperm(model.num_tokens)
    for own in ({}, TOGETHER):
        with static(model, rate=0.0, **own) as shuffle:
            shuffle.fix([order, None, order.flip(0)])
            shuffle.redraw()
            found.append(results(model, given))
    with attach(model, model.layers, [0.0] * DEPTH, torch.Generator()) as shuffle:
        shuffle.fix([order, None, order.flip(0)])
        assert all(same(each, results(model, given)) for each in found)
    with static(model) as shuffle:
        shuffle.fix([torch.arange(3), None, None])
        with pytest.raises(ValueError, match="layer 0 got"):
            shuffle.redraw()


def test_one_permutation_for_all_samples_takes_any_batch_and_one_for_each_does_not():
    model = family()
    with static(model, rate=1.0) as shuffle:
        shuffle.redraw()
        assert model(images(model, batch=2)).shape[0] == 2
    with static(model, rate=1.0, permutation="sample") as shuffle:
        shuffle.redraw()
        with pytest.raises(
            ValueError, match=r"layer 0 got 2 x \d+ tokens; the shuffle was attached for 3 x \d+ tokens"
        ):
            model(images(model, batch=2))


def test_what_would_go_wrong_in_silence_is_refused():
    model = family()
    given, shuffle = images(model), static(model, rate=1.0)
    with pytest.raises(RuntimeError, match="call `redraw` before"):
        model(given)
    shuffle.redraw()
    watched = model.layers[1].register_forward_hook(lambda *_: None)
    with pytest.raises(RuntimeError, match="another hook or mode"):
        model(given)
    watched.remove()
    model.layers[1].eval()
    with pytest.raises(RuntimeError, match="another hook or mode"):
        model(given)
    model.train()(given).sum().backward()
    shuffle.remove()
    with pytest.raises(ValueError, match="position 99 is exempt"):
        static(model, exempt=(99,))
    assert not model._forward_pre_hooks


@pytest.mark.parametrize("recompute", [False, True])
def test_a_redraw_between_a_forward_and_its_backward_is_refused(recompute):
    model = family()
    model.set_grad_checkpointing(recompute)
    shuffle = static(model)
    shuffle.redraw()
    loss = model(images(model)).sum()
    shuffle.redraw()
    with pytest.raises(RuntimeError, match="`redraw` came between"):
        loss.backward()


def test_the_other_form_has_nothing_to_redraw():
    model = family()
    with pytest.raises(RuntimeError, match="only a shuffle attached with `static`"):
        attach(model, model.layers, [0.5] * DEPTH).redraw()


def test_a_copied_model_has_memory_of_its_own():
    model = family(drop_path_rate=0.0)
    given, shuffle = images(model), static(model, rate=1.0)
    shuffle.redraw()
    expected = results(model, given)
    twin = copy.deepcopy(model)
    own = next(iter(twin._forward_pre_hooks.values())).__self__
    assert same(results(twin, given), expected)
    own.redraw()
    changed = results(twin, given)
    assert not same(changed, expected)
    assert same(results(model, given), expected)
    shuffle.redraw()
    assert same(results(model, given), changed)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("pattern", [{}, TOGETHER])
def test_on_a_gpu_a_graph_follows_the_draws_and_nothing_waits(pattern):
    model = family(drop_path_rate=0.0, scan="auto").cuda()
    given = images(model).cuda()
    shuffle, other = static(model, **pattern), torch.Generator().manual_seed(2)
    shuffle.redraw()
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            results(model, given)
    with torch.cuda.graph(graph, stream=stream):
        found = results(model, given)
    shuffle._generator.manual_seed(2)
    replayed = []
    try:
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(4):
            shuffle.redraw()
            graph.replay()
            replayed.append([each.clone() for each in found])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    shuffle.remove()
    with attach(model, model.layers, [0.6] * DEPTH, other, **pattern):
        for each in replayed:
            assert same(each, results(model, given))


def test_a_pickled_copy_shuffles_by_its_own_draws():
    model = family(drop_path_rate=0.0)
    shuffle = static(model, rate=1.0)
    copied, its_shuffle = pickle.loads(pickle.dumps((model, shuffle)))
    given = images(model)
    unshuffled = copy.deepcopy(model).eval()(given)
    for one in (shuffle, its_shuffle):
        one.redraw()
    assert torch.equal(model(given), copied(given))
    assert not torch.allclose(copied(given), unshuffled, atol=1e-6)
