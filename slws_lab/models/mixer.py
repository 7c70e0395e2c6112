"""The Vision Mamba mixer: a scan in each of two or four directions over the tokens, sharing projections and gate."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slws_lab.models.conv import causal_conv_silu
from slws_lab.scan import ScanInputs, selective_scan_pair

CONV_KERNEL = 4
ROWS, COLUMNS = ("", "_b"), ("_c", "_c_b")  # how the official keys call the directions: each forth and back
PARTS = ("conv1d{}", "x_proj{}", "dt_proj{}", "A{}_log", "D{}")  # and what each direction has of its own


class BidirectionalMixer(nn.Module):
    """Mix tokens by forward and backward selective scans, summed, scaled, gated and projected back.

    Only the convolution, the step, B and C projections, A and D are separate for each direction (`_b` is backward;
    `_c` and `_c_b` read the patches column by column, the class token first).

    Args:
        embed_dim: Width of the tokens.
        d_state: Size of the state of each inner channel.
        scan: Name of a resolved scan back-end.
        expand: Inner width per embedding width.
        scale: What the sum over directions is multiplied by.
        grid: Patches down and across, to scan column by column too; None for two directions, over any sequence.

    Source: Vim (arXiv 2401.09417) and VideoMamba (arXiv 2403.06977), the variant that halves the sum; four
    directions as in ARM's fine-tuning, which SLWS's masked distillation uses.
    """

    dt_proj: nn.Linear
    dt_proj_b: nn.Linear

    def __init__(
        self,
        embed_dim: int,
        d_state: int,
        scan: str,
        expand: int = 2,
        scale: float = 0.5,
        grid: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.scan, self.d_state, self.scale, self.grid = scan, d_state, scale, grid
        self.dt_rank = math.ceil(embed_dim / 16)
        width = expand * embed_dim
        self.in_proj = nn.Linear(embed_dim, 2 * width, bias=False)
        for suffix in ROWS if grid is None else ROWS + COLUMNS:
            self._add_direction(suffix, width)
        self.out_proj = nn.Linear(width, embed_dim, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the mixed tokens, (batch, length, embed_dim) like the input.

        Raises:
            ValueError: If columns are scanned and the tokens are not one class token and the grid.
        """
        x, z = self.in_proj(tokens).chunk(2, dim=-1)
        if self.grid is None:
            return self.out_proj(self._there_and_back(x, ROWS, z, self.scale))
        height, width = self.grid
        if tokens.shape[1] != 1 + height * width:
            raise ValueError(f"scanning columns needs 1 + {height} x {width} tokens, got {tokens.shape[1]}")
        y = self._there_and_back(x, ROWS)
        y = y + _transposed(self._there_and_back(_transposed(x, height, width), COLUMNS), width, height)
        return self.out_proj(y * (self.scale * F.silu(z)))

    def _add_direction(self, suffix: str, width: int) -> None:
        low_rank = self.dt_rank + 2 * self.d_state
        made = (
            nn.Conv1d(width, width, CONV_KERNEL, groups=width),
            nn.Linear(width, low_rank, bias=False),
            nn.Linear(self.dt_rank, width),
            nn.Parameter(_initial_A_log(width, self.d_state)),
            nn.Parameter(torch.ones(width)),
        )
        for part, value in zip(PARTS, made, strict=True):
            setattr(self, part.format(suffix), value)

    def _there_and_back(
        self, x: Tensor, suffixes: tuple[str, str], z: Tensor | None = None, scale: float = 1
    ) -> Tensor:
        forth, back = (
            self._direction(x, suffix, reverse) for suffix, reverse in zip(suffixes, (False, True), strict=True)
        )
        return selective_scan_pair(forth, back, z, scale, backend=self.scan)

    def _direction(self, x: Tensor, suffix: str, reverse: bool) -> ScanInputs:
        conv, x_proj, dt_proj, A_log, D = (getattr(self, part.format(suffix)) for part in PARTS)
        u = causal_conv_silu(x, conv, reverse, self.scan)
        step, B, C = x_proj(u).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        delta = F.linear(step, dt_proj.weight)
        A = -torch.exp(A_log)
        return ScanInputs(u, delta, A, B, C, D, delta_bias=dt_proj.bias, reverse=reverse)


def _transposed(tokens: Tensor, height: int, width: int) -> Tensor:
    """Return the class token and then the patches, (height, width) row by row, column by column."""
    patches = tokens[:, 1:].unflatten(1, (height, width)).transpose(1, 2).flatten(1, 2)
    return torch.cat([tokens[:, :1], patches], dim=1)


def _initial_A_log(width: int, d_state: int) -> Tensor:
    """Return log(1..d_state) for each channel, (width, d_state): the real S4D initialisation."""
    return torch.arange(1, d_state + 1, dtype=torch.float32).log().repeat(width, 1)
