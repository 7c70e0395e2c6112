"""What the shuffle must equal: the published form, no shuffle where order cannot matter, off where nothing moves."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from slws_lab.shuffle import attach

DEPTH = 4


def some_permutations(length: int, seed: int = 5) -> list[Tensor | None]:
    draws = torch.Generator().manual_seed(seed)
    return [None, *(torch.randperm(length, generator=draws) for _ in range(DEPTH - 1))]


def four_gathers(block: nn.Module, hidden: Tensor, residual: Tensor | None, order: Tensor | None, **own):
    """The published form, written anew: indices repeated over the batch, gathers in, block, gathers out."""
    if order is None:
        return block(hidden, residual, **own)
    index = order.repeat(hidden.shape[0], 1)
    back = index.argsort(dim=1)[..., None].expand(hidden.shape)
    index = index[..., None].expand(hidden.shape)
    inner = None if residual is None else torch.gather(residual, 1, index)
    hidden, residual = block(torch.gather(hidden, 1, index), inner, **own)
    return torch.gather(hidden, 1, back), torch.gather(residual, 1, back)


@pytest.mark.parametrize("net", ["residual", "residual_keyword"])
@pytest.mark.parametrize("first_layer_too", [False, True])
def test_outputs_and_gradients_equal_the_published_four_gather_form_bitwise(nets, tokens, net, first_layer_too):
    ours = nets[net]()
    published = copy.deepcopy(ours)
    orders = some_permutations(tokens.shape[1])
    if first_layer_too:
        orders[0] = orders[1].flip(0)
    ours_in, published_in = tokens.clone().requires_grad_(), tokens.clone().requires_grad_()

    attach(ours, ours.blocks, [0.0] * DEPTH).fix(orders)
    out = ours(ours_in)
    hidden, residual = published_in, None
    for block, order in zip(published.blocks, orders, strict=True):
        hidden, residual = four_gathers(block, hidden, residual, order, scale=0.5)

    assert torch.equal(out, hidden + residual)
    out.square().sum().backward()
    (hidden + residual).square().sum().backward()
    assert torch.equal(ours_in.grad, published_in.grad)
    for mine, theirs in zip(ours.parameters(), published.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)


def test_plain_blocks_equal_the_form_without_a_residual(nets, tokens):
    net = nets["order_sensitive"]()
    net.dropout.p = 0.0
    orders = some_permutations(tokens.shape[1])
    expected = tokens
    for block, order in zip(net.blocks, orders, strict=True):
        expected = block(expected) if order is None else block(expected[:, order])[:, order.argsort()]
    attach(net, net.blocks, [0.0] * DEPTH).fix(orders)
    assert torch.equal(net(tokens), expected)


def test_changes_a_block_in_which_order_matters(nets, tokens):
    for name in ("order_sensitive", "residual", "residual_keyword"):
        net = nets[name]()
        torch.manual_seed(2)
        before = net(tokens)
        with attach(net, net.blocks, [1.0] * DEPTH, torch.Generator().manual_seed(3)):
            torch.manual_seed(2)
            after = net(tokens)
        assert (after - before).abs().max() > 0.01, name


def test_changes_nothing_where_each_token_is_treated_alone(nets, tokens):
    net = nets["per_token"]().double()
    net.dropout.p = 0.0
    before = net(tokens.double())
    attach(net, net.blocks, [1.0] * DEPTH)
    torch.testing.assert_close(net(tokens.double()), before, rtol=1e-12, atol=1e-12)


def test_changes_nothing_in_attention_without_positions():
    torch.manual_seed(0)
    net = nn.Sequential(*(Block(dim=16, num_heads=4) for _ in range(DEPTH))).double()
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    before = net(x)
    shuffle = attach(net, list(net), [1.0] * DEPTH)
    torch.testing.assert_close(net(x), before, rtol=1e-12, atol=1e-12)
    assert shuffle.last_draw == (True,) * DEPTH


def test_the_identity_permutation_is_off_bitwise(nets, tokens):
    for name in ("order_sensitive", "residual", "residual_keyword"):
        net = nets[name]()
        torch.manual_seed(2)
        before = net(tokens)
        with attach(net, net.blocks, [0.0] * DEPTH, torch.Generator()) as shuffle:
            shuffle.fix([torch.arange(tokens.shape[1])] * DEPTH)
            torch.manual_seed(2)
            assert torch.equal(net(tokens), before), name


def test_the_class_token_moves_inside_and_is_back_at_its_place_after(nets, tokens):
    net = nets["per_token"](1)
    net.dropout.p = 0.0
    inside = []
    net.blocks[0].mix.register_forward_hook(lambda _, args, __: inside.append(args[0]))
    attach(net, net.blocks, [0.0]).fix([torch.tensor([3, 0, 6, 5, 4, 1, 2])])
    out = net(tokens)
    assert torch.equal(inside[0][:, 1], tokens[:, 0])
    assert torch.equal(inside[0][:, 0], tokens[:, 3])
    expected = tokens[:, 0] + torch.tanh(net.blocks[0].mix(tokens[:, 0]))
    torch.testing.assert_close(out[:, 0], expected)


def test_a_real_vit_trains_with_it_and_evaluates_without_it():
    torch.manual_seed(0)
    vit = VisionTransformer(
        img_size=8, patch_size=4, in_chans=1, num_classes=3, embed_dim=16, depth=2, num_heads=2,
        embed_layer=PatchEmbed,
    )  # fmt: skip
    images = torch.randn(2, 1, 8, 8)
    expected = vit.eval()(images)
    shuffle = attach(vit, vit.blocks, [1.0, 1.0])
    vit.train()(images).sum().backward()
    assert shuffle.last_draw == (True, True)
    assert all(parameter.grad is not None for parameter in vit.blocks.parameters())
    assert torch.equal(vit.eval()(images), expected)
