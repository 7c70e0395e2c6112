"""Small networks for the shuffle's tests: plain blocks, blocks with a residual stream, with and without order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

WIDTH = 6
TOKENS = 7


class OrderSensitive(nn.Module):
    """A plain block whose every token sees the tokens before it."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.mix(x.cumsum(1)))


class PerToken(nn.Module):
    """A plain block that treats each token alone: it commutes with every permutation."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.mix(x))


class ResidualStream(nn.Module):
    """A block with a residual stream: add, norm, order-sensitive mixer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)
        self.started_without_residual: list[bool] = []

    def forward(self, hidden: Tensor, residual: Tensor | None = None, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        self.started_without_residual.append(residual is None)
        residual = hidden if residual is None else hidden + residual
        return scale * torch.tanh(self.mix(self.norm(residual).cumsum(1))), residual


class Plain(nn.Module):
    """A stack of plain blocks; `recompute` checkpoints groups of blocks (None: no checkpointing)."""

    def __init__(self, block: Callable[[], nn.Module] = OrderSensitive, depth: int = 4) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(block() for _ in range(depth))
        self.dropout = nn.Dropout(0.3)
        self.recompute: dict[str, bool] | None = None
        self.group = 1

    def forward(self, x: Tensor) -> Tensor:
        for start in range(0, len(self.blocks), self.group):
            part = self.blocks[start : start + self.group]
            keep = self.recompute is None or not self.training
            x = _chain(x, part) if keep else checkpoint(_chain, x, part, **(self.recompute or {}))
        return self.dropout(x)


class Residual(nn.Module):
    """A stack of blocks with a residual stream, handed on by position or by keyword."""

    def __init__(self, depth: int = 4, keyword: bool = False) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualStream() for _ in range(depth))
        self.keyword = keyword

    def forward(self, hidden: Tensor) -> Tensor:
        residual = None
        for block in self.blocks:
            if self.keyword:
                hidden, residual = block(hidden, scale=0.5, residual=residual)
            else:
                hidden, residual = block(hidden, residual, 0.5)
        return hidden + residual


def _chain(x: Tensor, blocks: nn.ModuleList) -> Tensor:
    for block in blocks:
        x = block(x)
    return x


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(3, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def nets() -> dict[str, Callable[..., nn.Module]]:
    torch.manual_seed(0)
    return {
        "order_sensitive": lambda depth=4: Plain(OrderSensitive, depth),
        "per_token": lambda depth=4: Plain(PerToken, depth),
        "residual": lambda depth=4: Residual(depth),
        "residual_keyword": lambda depth=4: Residual(depth, keyword=True),
    }
