"""Blocks that others wrote: Hugging Face's and the official calling styles (stand-ins), timm's own, and maps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import pytest
import timm
import timm.layers
import torch
from timm.models.convnext import ConvNeXtBlock
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from slws_lab.shuffle import attach

DEPTH, WIDTH, TOKENS = 3, 6, 7
TOGETHER = {"permutation": "sample", "window": 4, "exempt": (0,)}
ORDERS = [torch.randperm(TOKENS, generator=torch.Generator().manual_seed(seed)) for seed in range(DEPTH)]


class HuggingFaceBlock(nn.Module):
    """Signature of Hugging Face's `MambaBlock`; the residual is its own affair, padding is masked token by token."""

    def __init__(self, as_tuple: bool) -> None:
        super().__init__()
        self.norm, self.mixer, self.as_tuple = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), as_tuple

    def forward(self, hidden_states, cache_params=None, attention_mask: Tensor | None = None, **kwargs):
        x = self.norm(hidden_states)
        x = x if attention_mask is None else x * attention_mask[..., None]
        x = hidden_states + torch.tanh(self.mixer(x.cumsum(1)))
        return (x, cache_params) if self.as_tuple else x


class HuggingFaceModel(nn.Module):
    """Calls its blocks as the versions of `MambaModel` do, and returns a dict as `ModelOutput` is one."""

    def __init__(self, keyword: bool = False, as_tuple: bool = False, recompute: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(HuggingFaceBlock(as_tuple) for _ in range(DEPTH))
        self.keyword, self.recompute = keyword, recompute

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor | None = None) -> OrderedDict[str, Tensor]:
        hidden_states = inputs_embeds
        for block in self.layers:
            if self.recompute:
                out = checkpoint(block.__call__, hidden_states, None, attention_mask, use_reentrant=False)
            elif self.keyword:
                out = block(hidden_states=hidden_states, cache_params=None, attention_mask=attention_mask)
            else:
                out = block(hidden_states, cache_params=None, attention_mask=attention_mask)
            hidden_states, _ = out if isinstance(out, tuple) else (out, None)
        return OrderedDict(last_hidden_state=hidden_states)


class OfficialBlock(nn.Module):
    """Signature of the blocks of mamba_ssm and Vision Mamba: (hidden, residual) in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mixer = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, hidden_states, residual: Tensor | None = None, inference_params=None, **mixer_kwargs):
        residual = hidden_states if residual is None else hidden_states + residual
        return torch.tanh(self.mixer(self.norm(residual).cumsum(1))), residual


class OfficialModel(nn.Module):
    def __init__(self, style: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(OfficialBlock() for _ in range(DEPTH))
        self.style = style

    def forward(self, hidden: Tensor) -> Tensor:
        residual = None
        for layer in self.layers:
            if self.style == "positional":
                hidden, residual = layer(hidden, residual, inference_params=None)
            elif self.style == "keyword residual":
                hidden, residual = layer(hidden, residual=residual)
            else:
                hidden, residual = layer(residual=residual, hidden_states=hidden)
        return hidden + residual


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(3, TOKENS, WIDTH)


@pytest.mark.parametrize("keyword", [False, True])
@pytest.mark.parametrize("as_tuple", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_hugging_face_blocks_equal_a_plain_loop(x, keyword, as_tuple, masked):
    net = HuggingFaceModel(keyword, as_tuple)
    mask = torch.ones(3, TOKENS)
    mask[1, 4:] = 0
    given = mask if masked else None
    hidden = x
    for block, order in zip(net.layers, ORDERS, strict=True):
        out = block(hidden[:, order], None, mask[:, order] if masked else None)
        hidden = (out[0] if as_tuple else out)[:, order.argsort()]
    attach(net, net.layers, [0.0] * DEPTH).fix(ORDERS)
    assert torch.equal(net(x, given)["last_hidden_state"], hidden)
    assert not torch.equal(net.eval()(x, given)["last_hidden_state"], hidden)


@pytest.mark.parametrize("masked", [False, True])
def test_hugging_face_blocks_take_a_permutation_for_each_sample(x, masked):
    net, seen = HuggingFaceModel(keyword=True), []
    mask = (torch.arange(TOKENS) < torch.tensor([[4], [7], [2]])).long() if masked else None
    with attach(net, net.layers, [1.0] * DEPTH, torch.Generator().manual_seed(1), permutation="sample"):
        net.layers[0].register_forward_pre_hook(lambda _, __, kwargs: seen.append(kwargs), with_kwargs=True)
        net(x, mask)
    inside = seen[0]["hidden_states"]
    orders = (inside[:, :, None] == x[:, None]).all(-1).long().argmax(-1)
    assert not torch.equal(orders[0], orders[1])
    if masked:
        assert torch.equal(seen[0]["attention_mask"], mask.gather(1, orders))


@pytest.mark.parametrize("pattern", [{}, TOGETHER])
def test_hugging_face_checkpointing_gives_equal_gradients(x, pattern):
    net, found = HuggingFaceModel(), []
    for recompute in (False, True):
        net.recompute = recompute
        with attach(net, net.layers, [0.7] * DEPTH, torch.Generator().manual_seed(2), **pattern) as shuffle:
            loss = sum(net(x + i)["last_hidden_state"].square().sum() for i in range(3))
            found.append(torch.autograd.grad(loss, list(net.parameters())))
            assert any(shuffle.last_draw)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("style", ["positional", "keyword residual", "all keywords"])
def test_official_blocks_equal_a_plain_loop(x, style):
    net = OfficialModel(style)
    hidden, residual = x, None
    for layer, order in zip(net.layers, ORDERS, strict=True):
        hidden, residual = layer(hidden[:, order], None if residual is None else residual[:, order])
        hidden, residual = hidden[:, order.argsort()], residual[:, order.argsort()]
    attach(net, net.layers, [0.0] * DEPTH).fix(ORDERS)
    assert torch.equal(net(x), hidden + residual)


@pytest.fixture(
    params=[("vit_tiny_patch16_224", 1), ("deit_tiny_patch16_224", 1), ("deit_tiny_distilled_patch16_224", 2)]
)
def vit(request) -> nn.Module:
    name, prefix = request.param
    torch.manual_seed(0)
    model = timm.create_model(name, img_size=32, patch_size=8, depth=2, num_classes=3)
    assert model.num_prefix_tokens == prefix
    return model


@pytest.fixture(params=[False, True])
def reentrant(request) -> Iterator[None]:
    before = timm.layers.use_reentrant_ckpt()
    timm.layers.set_reentrant_ckpt(request.param)
    yield
    timm.layers.set_reentrant_ckpt(before)


def test_timms_vits_keep_exempt_prefix_tokens_and_move_patches(vit):
    images, prefix, inside, outside = torch.randn(2, 3, 32, 32), vit.num_prefix_tokens, [], []
    expected = vit.eval()(images)
    vit.blocks[1].register_forward_pre_hook(lambda _, args: outside.append(args[0]))
    shuffle = attach(vit, vit.blocks, [1.0, 1.0], exempt=range(prefix))
    vit.blocks[1].register_forward_pre_hook(lambda _, args: inside.append(args[0]))
    vit.train()(images)
    assert shuffle.last_draw == (True, True)
    moved = (inside[0] != outside[0]).any(-1)
    assert not moved[:, :prefix].any()
    assert moved[:, prefix:].sum() > 16
    assert torch.equal(vit.eval()(images), expected)


@pytest.mark.usefixtures("reentrant")
def test_timms_gradient_checkpointing_gives_equal_gradients(vit):
    images, found = torch.randn(2, 3, 32, 32), []
    for recompute in (False, True):
        vit.set_grad_checkpointing(recompute)
        draws, exempt = torch.Generator().manual_seed(5), range(vit.num_prefix_tokens)
        with attach(vit, vit.blocks, [0.7, 0.7], draws, permutation="sample", exempt=exempt) as shuffle:
            outputs = [vit(images + i) for i in range(2)]
            drawn = shuffle.last_draw
            flat = [part for out in outputs for part in (out if isinstance(out, tuple) else (out,))]
            vit.zero_grad()
            sum(part.square().sum() for part in flat).backward()
            found.append([parameter.grad.clone() for parameter in vit.parameters()])
    assert any(drawn)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_timms_models_in_training_are_to_be_called_whole(vit):
    images = torch.randn(1, 3, 32, 32)
    attach(vit, vit.blocks, [1.0, 1.0])
    vit(images)
    with pytest.raises(RuntimeError, match="call the model itself"):
        vit.forward_features(images)
    vit.eval().forward_features(images)


@pytest.mark.parametrize(
    ("block", "shape"),
    [
        (ConvNeXtBlock(8), (2, 8, 4, 4)),
        (SwinTransformerBlock(dim=8, input_resolution=(4, 4), num_heads=1, window_size=2), (2, 4, 4, 8)),
    ],
)
def test_a_block_that_works_on_maps_is_named_with_what_it_got(block, shape):
    net = nn.Sequential(nn.Identity(), block)
    attach(net, [block], [0.0])
    words = rf"block 0 \({type(block).__name__}\) got a tensor \({', '.join(map(str, shape))}\)"
    with pytest.raises(TypeError, match=words):
        net(torch.zeros(shape))
    assert net.eval()(torch.zeros(shape)).shape == shape


class Shortens(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 1:]


class AlsoAttention(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x @ x.mT


class ForgetsTheResidual(nn.Module):
    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        return x


class TakesAnything(nn.Module):
    def forward(self, **kwargs: Tensor) -> Tensor:
        return kwargs["x"]


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (Shortens(), r"returned a tensor \(2, 6, 4\)"),
        (AlsoAttention(), r"returned a tensor \(2, 7, 4\), a tensor \(2, 7, 7\)"),
        (ForgetsTheResidual(), r"needs \(hidden, residual\)"),
        (TakesAnything(), "got a NoneType as its first argument"),
    ],
)
def test_what_cannot_be_put_back_is_refused(block, words):
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = block

        def forward(self, x: Tensor) -> object:
            return self.block(x=x)

    net = Net()
    attach(net, [block], [1.0])
    with pytest.raises(TypeError, match=words):
        net(torch.zeros(2, 7, 4))
