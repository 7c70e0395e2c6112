"""Attaching and removing: draws and their streams, modes, checkpointing, copies, and what is refused."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict

import pytest
import torch
from scipy.stats import binom
from torch import nn
from torch.utils.checkpoint import checkpoint

from slws_lab.shuffle import attach, rates

DEPTH = 4
TOKENS = 7
TOGETHER = {"permutation": "sample", "window": 3, "exempt": (0,)}
REVERSED = torch.arange(TOKENS - 1, -1, -1)


def losses(net: nn.Module, tokens: torch.Tensor, steps: int = 4) -> list[float]:
    """A short training whose dropout draws from torch's default generator."""
    torch.manual_seed(4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    history = []
    for _ in range(steps):
        loss = net(tokens).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history


def test_rate_zero_gives_the_losses_of_no_attachment(nets, tokens):
    net = nets["order_sensitive"]()
    wrapped, shuffled = copy.deepcopy(net), copy.deepcopy(net)
    attach(wrapped, wrapped.blocks, [0.0] * DEPTH, torch.Generator())
    attach(shuffled, shuffled.blocks, [0.9] * DEPTH, torch.Generator())
    plain = losses(net, tokens)
    assert losses(wrapped, tokens) == plain
    assert losses(shuffled, tokens) != plain


@pytest.mark.parametrize("own_generator", [True, False])
def test_every_rate_uses_the_same_randomness(nets, tokens, own_generator):
    states = []
    for rate in (0.0, 0.5, 1.0):
        net = nets["residual"]()
        generator = torch.Generator() if own_generator else torch.default_generator
        generator.manual_seed(8)
        attach(net, net.blocks, [rate] * DEPTH, generator if own_generator else None)
        net(tokens)
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])
    assert not torch.equal(states[0], torch.Generator().manual_seed(8).get_state())


def test_eval_mode_is_inert_bitwise_and_draws_nothing(nets, tokens):
    net = nets["order_sensitive"]().eval()
    before = net(tokens)
    generator = torch.Generator().manual_seed(1)
    shuffle = attach(net, net.blocks, [1.0] * DEPTH, generator)
    net.train()(tokens)
    state = generator.get_state()
    assert torch.equal(net.eval()(tokens), before)
    assert shuffle.last_draw == (False,) * DEPTH
    assert torch.equal(generator.get_state(), state)


def test_a_block_in_eval_mode_is_not_shuffled(nets, tokens):
    net = nets["order_sensitive"]()
    net.dropout.p = 0.0
    before = net(tokens)
    attach(net, net.blocks, [1.0] * DEPTH)
    net.blocks.eval()
    assert torch.equal(net(tokens), before)


def test_removal_leaves_keys_hooks_and_outputs_as_before(nets, tokens):
    net = nets["residual"]()
    keys, before = list(net.state_dict()), net(tokens)
    shuffle = attach(net, net.blocks, [1.0] * DEPTH)
    assert list(net.state_dict()) == keys
    assert not torch.equal(net(tokens), before)
    shuffle.remove()
    shuffle.remove()
    assert list(net.state_dict()) == keys
    assert torch.equal(net(tokens), before)
    for module in net.modules():
        for name, hooks in vars(module).items():
            assert not (name.endswith(("_hooks", "_with_kwargs", "_always_called")) and hooks), name
            assert "forward" not in vars(module)


def gradients(net: nn.Module, inputs: list[torch.Tensor], **pattern: object) -> list[torch.Tensor]:
    """Forwards first, then one backward through all of them; the shuffle draws from a seed."""
    net.zero_grad()
    with attach(net, net.blocks, [0.6] * DEPTH, torch.Generator().manual_seed(11), **pattern):
        torch.manual_seed(3)
        sum(net(x).square().sum() for x in inputs).backward()
    return [parameter.grad.clone() for parameter in net.parameters()]


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("group", [1, 2, DEPTH])
@pytest.mark.parametrize("forwards", [1, 3])
@pytest.mark.parametrize("pattern", [{}, TOGETHER])
def test_checkpointing_gives_the_gradients_of_no_checkpointing(nets, tokens, use_reentrant, group, forwards, pattern):
    net = nets["order_sensitive"]()
    net.group = group
    inputs = [(tokens + i).requires_grad_() for i in range(forwards)]
    expected = gradients(net, inputs, **pattern)
    net.recompute = {"use_reentrant": use_reentrant}
    for mine, theirs in zip(gradients(net, inputs, **pattern), expected, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing_survives_an_evaluation_before_the_backward(nets, tokens, use_reentrant):
    net = nets["order_sensitive"]()
    expected = gradients(net, [tokens.requires_grad_()])
    net.recompute = {"use_reentrant": use_reentrant}
    net.zero_grad()
    with attach(net, net.blocks, [0.6] * DEPTH, torch.Generator().manual_seed(11)):
        torch.manual_seed(3)
        loss = net(tokens).square().sum()
        with torch.no_grad():
            net.eval()(tokens)
        net.train()
        loss.backward()
    for parameter, gradient in zip(net.parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_each_layer_shuffles_at_its_own_rate():
    net = nn.Sequential(*(nn.Identity() for _ in range(6)))
    wanted, forwards = rates("linear", 0.5, 6), 4000
    shuffle = attach(net, list(net), wanted, torch.Generator().manual_seed(0))
    counts, x = [0] * 6, torch.zeros(1, 2, 1)
    for _ in range(forwards):
        net(x)
        counts = [count + drawn for count, drawn in zip(counts, shuffle.last_draw, strict=True)]
    for count, rate in zip(counts, wanted, strict=True):
        low, high = binom.interval(0.9999, forwards, rate) if rate else (0, 0)
        assert low <= count <= high


def test_permutations_are_uniform_and_differ_between_layers_and_forwards():
    net, seen = nn.Sequential(nn.Identity(), nn.Identity()), {}
    orders: list[tuple[int, ...]] = []
    attach(net, list(net), [1.0, 1.0], torch.Generator().manual_seed(0))
    for layer in net:
        layer.register_forward_hook(lambda _, args, __: orders.append(tuple(args[0].flatten().long().tolist())))
    x, forwards = torch.arange(3.0).reshape(1, 3, 1), 1500
    for _ in range(forwards):
        net(x)
    for order in orders:
        seen[order] = seen.get(order, 0) + 1
    low, high = binom.interval(0.9999, 2 * forwards, 1 / 6)
    assert len(seen) == 6
    assert all(low <= count <= high for count in seen.values())
    same = sum(first == second for first, second in zip(orders[::2], orders[1::2], strict=True))
    low, high = binom.interval(0.9999, forwards, 1 / 6)
    assert low <= same <= high


def test_the_generators_seed_decides_the_outputs(nets, tokens):
    net = nets["residual"]()
    outputs = []
    for seed in (5, 5, 6):
        with attach(net, net.blocks, [1.0] * DEPTH, torch.Generator().manual_seed(seed)):
            outputs.append(net(tokens))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_no_residual_at_the_first_layer_stays_none(nets, tokens):
    for name in ("residual", "residual_keyword"):
        net = nets[name]()
        attach(net, net.blocks, [1.0] * DEPTH)
        net(tokens)
        seen = [block.started_without_residual == [True] for block in net.blocks]
        assert seen == [True] + [False] * (DEPTH - 1)


def test_works_without_gradients_and_under_autocast(nets, tokens):
    net = nets["residual"]()
    shuffle = attach(net, net.blocks, [1.0] * DEPTH)
    shuffle.fix([REVERSED] * DEPTH)
    expected = net(tokens)
    with torch.no_grad():
        assert torch.equal(net(tokens), expected)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(tokens)
    torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.1)
    half.float().sum().backward()


def test_a_block_that_raises_leaves_nothing_permuted(nets, tokens):
    net = nets["order_sensitive"]()
    shuffle = attach(net, net.blocks, [1.0] * DEPTH)
    shuffle.fix([REVERSED] * DEPTH)
    torch.manual_seed(0)
    expected = net(tokens)
    forward = type(net.blocks[1]).forward

    def broken(self, x):
        raise ArithmeticError

    try:
        type(net.blocks[1]).forward = broken
        with pytest.raises(ArithmeticError):
            net(tokens)
    finally:
        type(net.blocks[1]).forward = forward
    torch.manual_seed(0)
    assert torch.equal(net(tokens), expected)


def test_the_length_may_change_between_forwards(nets, tokens):
    net = nets["order_sensitive"]()
    attach(net, net.blocks, [1.0] * DEPTH)
    assert net(tokens).shape == tokens.shape
    assert net(tokens[:, :4]).shape == tokens[:, :4].shape


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copied_model_has_a_shuffle_of_its_own(nets, tokens, duplicate):
    net = nets["residual"]()
    shuffle = attach(net, net.blocks, [1.0] * DEPTH, torch.Generator().manual_seed(1))
    net(tokens)
    twin = duplicate(net)
    assert torch.equal(twin(tokens), net(tokens))
    shuffle.remove()
    plain = net(tokens)
    assert not torch.equal(twin(tokens), plain)
    with pytest.raises(ValueError, match="shuffled already"):
        attach(twin, twin.blocks, [1.0] * DEPTH)


def test_mistakes_of_attaching_are_refused(nets):
    net = nets["residual"]()
    with pytest.raises(ValueError, match="3 rates for 4 blocks"):
        attach(net, net.blocks, [0.1] * 3)
    with pytest.raises(ValueError, match=r"rate 1\.5 of block 1"):
        attach(net, net.blocks, [0.1, 1.5, 0.1, 0.1])
    with pytest.raises(ValueError, match="not a submodule"):
        attach(net, [nn.Identity()], [0.1])
    with pytest.raises(ValueError, match="block 1 is shuffled already"):
        attach(net, [net.blocks[0], net.blocks[0]], [0.1, 0.1])
    assert all(isinstance(m._forward_pre_hooks, OrderedDict) and not m._forward_pre_hooks for m in net.modules())
    attach(net, net.blocks, [0.1] * DEPTH)
    with pytest.raises(ValueError, match="block 0 is shuffled already"):
        attach(net, net.blocks, [0.1] * DEPTH)


def test_fixed_permutations_must_fit(nets, tokens):
    net = nets["residual"]()
    shuffle = attach(net, net.blocks, [0.0] * DEPTH)
    with pytest.raises(ValueError, match="1 permutations for 4 layers"):
        shuffle.fix([REVERSED])
    with pytest.raises(ValueError, match="not a permutation"):
        shuffle.fix([torch.tensor([0, 0, 1]), None, None, None])
    shuffle.fix([None, torch.arange(3), None, None])
    with pytest.raises(ValueError, match="layer 1 got 7 tokens"):
        net(tokens)
    shuffle.fix(None)
    net(tokens)
    assert shuffle.last_draw == (False,) * DEPTH


@pytest.mark.parametrize("calls_before", [0, 1])
@pytest.mark.parametrize("backward_too", [False, True])
def test_a_training_that_goes_round_the_models_call_is_refused(nets, tokens, calls_before, backward_too):
    net = nets["order_sensitive"]()
    shuffle = attach(net, net.blocks, [1.0] * DEPTH)
    for _ in range(calls_before):
        loss = net(tokens).sum()
        if backward_too:
            loss.backward()
    with pytest.raises(RuntimeError, match=r"block 0 ran in training outside a forward.*call the model itself"):
        net.forward(tokens)
    net.eval().forward(tokens)
    shuffle.remove()
    net.train().forward(tokens)


def test_nothing_is_current_after_a_forward_or_a_backward_that_raised(nets, tokens, monkeypatch):
    net = nets["order_sensitive"]()
    attach(net, net.blocks, [1.0] * DEPTH)
    with pytest.raises(RuntimeError, match="mat1"):
        net(tokens[..., :3])
    with pytest.raises(RuntimeError, match="call the model itself"):
        net.forward(tokens)
    net.recompute = {"use_reentrant": False}
    loss = net(tokens).sum()
    with monkeypatch.context() as broken, pytest.raises(ZeroDivisionError):
        broken.setattr(type(net.blocks[1]), "forward", lambda self, x: 1 / 0)
        loss.backward()
    with pytest.raises(RuntimeError, match="call the model itself"):
        net.forward(tokens)


def test_a_checkpoint_around_the_whole_model_gives_the_gradients_of_none(nets, tokens):
    inputs = [(tokens + i).requires_grad_() for i in range(3)]
    net, found = nets["order_sensitive"](), []
    for recompute in (False, True):
        torch.manual_seed(3)
        with attach(net, net.blocks, [0.6] * DEPTH, torch.Generator().manual_seed(11), **TOGETHER) as shuffle:
            outputs = [checkpoint(net, x, use_reentrant=False) if recompute else net(x) for x in inputs]
            drawn = shuffle.last_draw
            found.append(torch.autograd.grad(sum(out.square().sum() for out in outputs), [*inputs, *net.parameters()]))
            assert shuffle.last_draw == drawn
            assert any(drawn)
    for mine, theirs in zip(*found, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("after_another_step", [False, True])
def test_a_reentrant_checkpoint_around_the_whole_model_is_refused(nets, tokens, after_another_step):
    net = nets["order_sensitive"]()
    attach(net, net.blocks, [0.6] * DEPTH, torch.Generator())
    if after_another_step:
        net(tokens).sum().backward()
    loss = checkpoint(net, tokens.requires_grad_(), use_reentrant=True).sum()
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        loss.backward()


def test_scale_multiplies_all_rates_from_the_next_forward_on(nets, tokens):
    net, draws, forwards = nets["residual"](), torch.Generator(), 600
    shuffle = attach(net, net.blocks, [0.0, 0.5, 0.8, 1.0], draws)
    assert shuffle.scale == 1
    found = {}
    for scale in (1.0, 0.5, 0.0):
        draws.manual_seed(4)
        shuffle.scale = scale
        found[scale] = []
        for _ in range(forwards):
            net(tokens)
            found[scale].append(shuffle.last_draw)
        found[scale].append(draws.get_state().tolist())
    assert found[1.0][-1] == found[0.5][-1] == found[0.0][-1]
    assert set(found[0.0][:-1]) == {(False,) * DEPTH}
    for scale in (1.0, 0.5):
        for layer, rate in enumerate(shuffle.rates):
            low, high = (
                binom.interval(0.9999, forwards, rate * scale) if 0 < rate * scale < 1 else (rate * forwards,) * 2
            )
            assert low <= sum(drawn[layer] for drawn in found[scale][:-1]) <= high
    for less, more in zip(found[0.5][:-1], found[1.0][:-1], strict=True):
        assert all(b or not a for a, b in zip(less, more, strict=True))


def test_a_scale_of_one_changes_nothing_and_one_set_before_the_backward_waits_for_the_next_forward(nets, tokens):
    net = nets["order_sensitive"]()
    net.recompute = {"use_reentrant": False}
    found = []
    for scale_before, scale_after in ((None, None), (1, None), (None, 0.0)):
        torch.manual_seed(3)
        with attach(net, net.blocks, [0.6] * DEPTH, torch.Generator().manual_seed(11)) as shuffle:
            shuffle.scale = 1.0 if scale_before is None else scale_before
            out = net(tokens)
            shuffle.scale = 1.0 if scale_after is None else scale_after
            found.append([out, *torch.autograd.grad(out.sum(), list(net.parameters()))])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("scale", [-0.1, 1.1, float("nan")])
def test_a_scale_outside_0_to_1_is_refused(nets, scale):
    net = nets["residual"]()
    shuffle = attach(net, net.blocks, [0.5] * DEPTH)
    with pytest.raises(ValueError, match="scale"):
        shuffle.scale = scale
    assert shuffle.scale == 1


def test_blocks_of_another_kind_are_refused():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    for block, x in ((Pair(), torch.zeros(1, 3, 2)), (nn.Identity(), torch.zeros(3, 2))):
        net = nn.Sequential(block)
        attach(net, list(net), [1.0])
        with pytest.raises(TypeError, match="block"):
            net(x)
