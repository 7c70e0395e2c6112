"""The bidirectional Vision Mamba mixer: one scan each way over the tokens, sharing projections and gate."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slws_lab.models.conv import causal_conv
from slws_lab.scan import selective_scan

EXPAND = 2  # inner width per embedding width
CONV_KERNEL = 4


class BidirectionalMixer(nn.Module):
    """Mix tokens by a forward and a backward selective scan, averaged, gated and projected back.

    Only the convolution, the step, B and C projections, A and D are separate for the backward direction (`_b`).

    Args:
        embed_dim: Width of the tokens.
        d_state: Size of the state of each inner channel.
        scan: Name of a resolved scan back-end.

    Source: Vim (arXiv 2401.09417) and VideoMamba (arXiv 2403.06977), the variant that halves the sum.
    """

    def __init__(self, embed_dim: int, d_state: int, scan: str) -> None:
        super().__init__()
        self.scan, self.d_state = scan, d_state
        self.dt_rank = math.ceil(embed_dim / 16)
        width = EXPAND * embed_dim
        low_rank = self.dt_rank + 2 * d_state
        self.in_proj = nn.Linear(embed_dim, 2 * width, bias=False)
        self.conv1d = nn.Conv1d(width, width, CONV_KERNEL, groups=width)
        self.x_proj = nn.Linear(width, low_rank, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, width)
        self.A_log = nn.Parameter(_initial_A_log(width, d_state))
        self.D = nn.Parameter(torch.ones(width))
        self.conv1d_b = nn.Conv1d(width, width, CONV_KERNEL, groups=width)
        self.x_proj_b = nn.Linear(width, low_rank, bias=False)
        self.dt_proj_b = nn.Linear(self.dt_rank, width)
        self.A_b_log = nn.Parameter(_initial_A_log(width, d_state))
        self.D_b = nn.Parameter(torch.ones(width))
        self.out_proj = nn.Linear(width, embed_dim, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the mixed tokens, (batch, length, embed_dim) like the input."""
        x, z = self.in_proj(tokens).chunk(2, dim=-1)
        forth = self._direction(x, self.conv1d, self.x_proj, self.dt_proj, self.A_log, self.D)
        back = self._direction(x, self.conv1d_b, self.x_proj_b, self.dt_proj_b, self.A_b_log, self.D_b, reverse=True)
        return self.out_proj((forth + back) * (0.5 * F.silu(z)))

    def _direction(
        self,
        x: Tensor,
        conv: nn.Conv1d,
        x_proj: nn.Linear,
        dt_proj: nn.Linear,
        A_log: Tensor,
        D: Tensor,
        reverse: bool = False,
    ) -> Tensor:
        u = F.silu(causal_conv(x, conv, reverse))
        step, B, C = x_proj(u).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        delta = F.linear(step, dt_proj.weight)
        A = -torch.exp(A_log)
        return selective_scan(u, delta, A, B, C, D, delta_bias=dt_proj.bias, reverse=reverse, backend=self.scan)


def _initial_A_log(width: int, d_state: int) -> Tensor:
    """Return log(1..d_state) for each channel, (width, d_state): the real S4D initialisation."""
    return torch.arange(1, d_state + 1, dtype=torch.float32).log().repeat(width, 1)
