"""Which tokens change places: a permutation for each sample, windows, exempt tokens, and all three together."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from scipy.stats import binom
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from slws_lab.shuffle import attach

DEPTH = 4
TOGETHER = {"permutation": "sample", "window": 2, "exempt": (0, -3)}
PATTERNS = [{"permutation": "sample"}, {"window": 3}, {"exempt": (0,)}, TOGETHER]


def watched(net: nn.Module, x: Tensor, seed: int = 3, **pattern: object) -> tuple[Tensor, list[Tensor]]:
    """Run a forward in which every layer shuffles; recover each layer's (batch, length) order from what blocks see."""
    outside, inside = [], []
    hooks = [block.register_forward_pre_hook(lambda _, args: outside.append(args[0])) for block in net.blocks]
    with attach(net, net.blocks, [1.0] * DEPTH, torch.Generator().manual_seed(seed), **pattern):
        hooks += [block.register_forward_pre_hook(lambda _, args: inside.append(args[0])) for block in net.blocks]
        out = net(x)
    for hook in hooks:
        hook.remove()
    same = [(i[:, :, None] == o[:, None]).all(-1) for i, o in zip(inside, outside, strict=True)]
    assert all((matches.sum(-1) == 1).all() for matches in same)
    return out, [matches.long().argmax(-1) for matches in same]


def orders_over(forwards: int, tokens: int, batch: int = 1, **pattern: object) -> Tensor:
    """The orders (forwards, batch, tokens) of a single layer."""
    net, found = nn.Sequential(nn.Identity()), []
    with attach(net, list(net), [1.0], torch.Generator().manual_seed(0), **pattern):
        net[0].register_forward_hook(lambda _, args, __: found.append(args[0][..., 0].long()))
        for _ in range(forwards):
            net(torch.arange(float(tokens)).repeat(batch, 1)[..., None])
    return torch.stack(found)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", ["order_sensitive", "residual", "residual_keyword"])
def test_equals_a_plain_loop_over_layers_and_samples(nets, tokens, name, pattern):
    net = nets[name]().double()
    if name == "order_sensitive":
        net.dropout.p = 0.0
    ours, plain = (tokens.double().requires_grad_() for _ in range(2))
    out, orders = watched(net, ours, **pattern)
    assert any((order != torch.arange(tokens.shape[1])).any() for order in orders)
    looped = []
    for sample in range(len(tokens)):
        hidden, residual = plain[sample : sample + 1], None
        for block, order in zip(net.blocks, orders, strict=True):
            there, back = order[sample], order[sample].argsort()
            if name == "order_sensitive":
                hidden = block(hidden[:, there])[:, back]
            else:
                hidden, residual = block(hidden[:, there], None if residual is None else residual[:, there], 0.5)
                hidden, residual = hidden[:, back], residual[:, back]
        looped.append(hidden if residual is None else hidden + residual)
    torch.testing.assert_close(out, torch.cat(looped), rtol=1e-12, atol=1e-12)
    gradients = [
        torch.autograd.grad(result.square().sum(), x) for result, x in ((out, ours), (torch.cat(looped), plain))
    ]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_order_is_restored_so_that_nothing_changes_where_order_cannot_matter(nets, tokens, pattern):
    net = nets["per_token"]().double()
    net.dropout.p = 0.0
    x = tokens.double()
    before = net(x)
    torch.testing.assert_close(watched(net, x, **pattern)[0], before, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_attention_without_positions_does_not_notice(pattern):
    torch.manual_seed(0)
    net = nn.Sequential(*(Block(dim=16, num_heads=4) for _ in range(DEPTH))).double()
    x = torch.randn(3, 9, 16, dtype=torch.float64)
    before = net(x)
    attach(net, list(net), [1.0] * DEPTH, **pattern)
    torch.testing.assert_close(net(x), before, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "pattern", [{"window": 1}, {"exempt": range(7)}, {"permutation": "sample", "exempt": range(-7, 0)}]
)
def test_a_pattern_in_which_nothing_may_move_is_off_bitwise(nets, tokens, pattern):
    net = nets["order_sensitive"]()
    torch.manual_seed(2)
    before = net(tokens)
    attach(net, net.blocks, [1.0] * DEPTH, torch.Generator(), **pattern)
    torch.manual_seed(2)
    assert torch.equal(net(tokens), before)


@pytest.mark.parametrize("pattern", [{}, {"window": 7}, {"window": 100}, {"exempt": ()}])
def test_the_defaults_draw_a_decision_and_a_seed_for_each_layer_and_permute_all(nets, tokens, pattern):
    _, orders = watched(nets["order_sensitive"](), tokens, seed=12, **pattern)
    draws = torch.Generator().manual_seed(12)
    torch.rand(DEPTH, generator=draws, dtype=torch.float64)
    for order, seed in zip(orders, torch.randint(2**63 - 1, (DEPTH,), generator=draws).tolist(), strict=True):
        expected = torch.randperm(tokens.shape[1], generator=torch.Generator().manual_seed(seed))
        assert torch.equal(order, expected.expand_as(order))


def test_no_pattern_touches_which_layers_shuffle_nor_how_much_is_drawn(nets, tokens):
    seen = []
    for pattern in ({}, *PATTERNS):
        net, draws = nets["residual"](), torch.Generator().manual_seed(1)
        shuffle = attach(net, net.blocks, [0.5] * DEPTH, draws, **pattern)
        seen.append([(net(tokens), shuffle.last_draw)[1] for _ in range(10)] + [draws.get_state().tolist()])
    assert all(each == seen[0] for each in seen)
    assert len(set(seen[0][:10])) > 1


def test_each_sample_has_a_permutation_of_its_own_that_no_later_sample_changes():
    orders = orders_over(200, 6, batch=3, permutation="sample")
    same = (orders[:, 0] == orders[:, 1]).all(-1).sum()
    assert same <= binom.ppf(0.9999, 200, 1 / 720)
    assert torch.equal(orders[:, :2], orders_over(200, 6, batch=2, permutation="sample"))
    assert torch.equal(orders[:, :1], orders_over(200, 6, batch=1, permutation="batch"))
    together = orders_over(20, 6, batch=3, permutation="batch")
    assert torch.equal(together, together[:, :1].expand_as(together))


@pytest.mark.parametrize("permutation", ["batch", "sample"])
@pytest.mark.parametrize("exempt", [(0,), (3, -1), (-7, 0, 6)])
def test_an_exempt_token_never_moves_and_the_others_go_everywhere(permutation, exempt):
    orders = orders_over(100, 7, batch=2, permutation=permutation, exempt=exempt).flatten(0, 1)
    fixed = {position % 7 for position in exempt}
    for place in range(7):
        seen = set(orders[:, place].tolist())
        assert seen == ({place} if place in fixed else set(range(7)) - fixed)


@pytest.mark.parametrize("permutation", ["batch", "sample"])
def test_a_token_never_leaves_its_window_and_the_last_window_may_be_shorter(permutation):
    orders = orders_over(100, 8, batch=2, permutation=permutation, window=3).flatten(0, 1)
    for start, end in pairwise((0, 3, 6, 8)):
        for place in range(start, end):
            assert set(orders[:, place].tolist()) == set(range(start, end))


def test_exempt_tokens_do_not_count_in_a_window():
    orders = orders_over(100, 8, batch=2, permutation="sample", window=3, exempt=(0, 4)).flatten(0, 1)
    for window in ((0,), (4,), (1, 2, 3), (5, 6, 7)):
        for place in window:
            assert set(orders[:, place].tolist()) == set(window)
    orders = orders_over(100, 8, window=3, exempt=(2,)).flatten(0, 1)
    assert [set(orders[:, place].tolist()) for place in (0, 1, 2, 3)] == [{0, 1, 3}, {0, 1, 3}, {2}, {0, 1, 3}]


@pytest.mark.parametrize("permutation", ["batch", "sample"])
def test_permutations_within_windows_are_uniform_and_independent_of_each_other(permutation):
    forwards = 1500
    orders = orders_over(forwards, 5, batch=2, permutation=permutation, window=3)[:, 1].tolist()
    counts: dict[tuple[int, ...], int] = {}
    for order in orders:
        counts[tuple(order)] = counts.get(tuple(order), 0) + 1
    low, high = binom.interval(0.9999, forwards, 1 / 12)
    assert len(counts) == 12
    assert all(low <= count <= high for count in counts.values())


@pytest.mark.parametrize("pattern", PATTERNS)
def test_lengths_and_batches_may_change_between_forwards(nets, tokens, pattern):
    net = nets["order_sensitive"]()
    attach(net, net.blocks, [1.0] * DEPTH, **pattern)
    for x in (tokens, tokens[:, :4], tokens[:1], tokens[:0], tokens):
        assert net(x).shape == x.shape


def test_a_block_may_be_called_with_parts_of_the_batch_in_one_forward(tokens):
    class InParts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.block(x[:2]), self.block(x[2:])])

    net = InParts()
    attach(net, [net.block], [1.0], permutation="sample")
    assert torch.equal(net(tokens), tokens)


def test_patterns_that_make_no_sense_are_refused(nets, tokens):
    net = nets["residual"]()
    for pattern, words in (
        ({"permutation": "token"}, "unknown permutation 'token'"),
        ({"window": 0}, "window of 0"),
        ({"window": -2}, "window of -2"),
    ):
        with pytest.raises(ValueError, match=words):
            attach(net, net.blocks, [1.0] * DEPTH, **pattern)
    for position in (7, -8):
        with attach(net, net.blocks, [0.0] * DEPTH, exempt=(0, position)):
            with pytest.raises(ValueError, match=f"position {position} is exempt from the shuffle.* has 7 tokens"):
                net(tokens)
            net.eval()(tokens)
            net.train()
