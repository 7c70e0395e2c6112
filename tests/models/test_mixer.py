"""The bidirectional mixer against a step-by-step recomputation, and its symmetry in time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slws_lab.models import BidirectionalMixer


def mixer(scan: str = "chunked") -> BidirectionalMixer:
    torch.manual_seed(0)
    built = BidirectionalMixer(embed_dim=20, d_state=3, scan=scan).double()
    with torch.no_grad():  # so that no parameter is at a value that would hide a mistake
        for parameter in built.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return built


def one_direction(p: dict[str, Tensor], suffix: str, A_log: Tensor, x: Tensor) -> Tensor:
    """Convolve, project and scan x, (length, 40), forward in time, one token and one channel at a time."""
    length, width = x.shape
    taps = p[f"conv1d{suffix}.weight"]
    padded = torch.cat([x.new_zeros(taps.shape[-1] - 1, width), x]).t()[None]
    u = F.silu(F.conv1d(padded, taps, p[f"conv1d{suffix}.bias"], groups=width)[0].t())
    low = u @ p[f"x_proj{suffix}.weight"].t()
    rank, state = p["dt_proj.weight"].shape[1], A_log.shape[1]
    dt = F.softplus(low[:, :rank] @ p[f"dt_proj{suffix}.weight"].t() + p[f"dt_proj{suffix}.bias"])
    B, C = low[:, rank : rank + state], low[:, rank + state :]
    D = p[f"D{suffix}"]
    y = torch.zeros_like(u)
    for channel in range(width):
        h = x.new_zeros(state)
        for t in range(length):
            h = torch.exp(-dt[t, channel] * A_log[channel].exp()) * h + dt[t, channel] * B[t] * u[t, channel]
            y[t, channel] = C[t] @ h + D[channel] * u[t, channel]
    return y


def recomputed(p: dict[str, Tensor], tokens: Tensor) -> Tensor:
    x, z = (tokens @ p["in_proj.weight"].t()).split(40, dim=1)
    forth = one_direction(p, "", p["A_log"], x)
    back = one_direction(p, "_b", p["A_b_log"], x.flip(0)).flip(0)
    gated = (forth * F.silu(z) + back * F.silu(z)) / 2
    return gated @ p["out_proj.weight"].t()


@pytest.mark.parametrize("scan", ["chunked", "reference"])
def test_equals_the_recomputation(scan: str) -> None:
    built = mixer(scan)
    tokens = torch.randn(2, 6, 20, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.stack([recomputed(dict(built.named_parameters()), image) for image in tokens])
        torch.testing.assert_close(built(tokens), expected, rtol=1e-10, atol=1e-12)


def test_commutes_with_flipping_when_both_directions_are_equal_and_only_then() -> None:
    built = mixer()
    tokens = torch.randn(2, 9, 20, dtype=torch.float64)
    assert not torch.allclose(built(tokens.flip(1)).flip(1), built(tokens))
    with torch.no_grad():
        parameters = dict(built.named_parameters())
        for name, parameter in parameters.items():
            twin = "A_b_log" if name == "A_log" else name.replace(".", "_b.") if "." in name else f"{name}_b"
            if twin in parameters:
                parameters[twin].copy_(parameter)
    torch.testing.assert_close(built(tokens.flip(1)).flip(1), built(tokens), rtol=1e-11, atol=1e-13)


def test_four_directions_read_rows_and_columns_and_average() -> None:
    torch.manual_seed(0)
    four = BidirectionalMixer(embed_dim=20, d_state=3, scan="chunked", expand=1, scale=0.25, grid=(2, 3)).double()
    with torch.no_grad():
        for parameter in four.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    tokens = torch.randn(2, 7, 20, dtype=torch.float64)
    p = dict(four.named_parameters())
    columns = [0, 1, 4, 2, 5, 3, 6]  # the class token first, then the 2 x 3 patches column by column
    rows = torch.tensor(columns).argsort()
    for image, mixed in zip(tokens, four(tokens), strict=True):
        x, z = (image @ p["in_proj.weight"].t()).split(20, dim=1)
        forth = one_direction(p, "", p["A_log"], x)
        back = one_direction(p, "_b", p["A_b_log"], x.flip(0)).flip(0)
        down = one_direction(p, "_c", p["A_c_log"], x[columns])[rows]
        up = one_direction(p, "_c_b", p["A_c_b_log"], x[columns].flip(0)).flip(0)[rows]
        expected = ((forth + back + down + up) * F.silu(z) / 4) @ p["out_proj.weight"].t()
        torch.testing.assert_close(mixed, expected, rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="1 \\+ 2 x 3 tokens, got 6"):
        four(tokens[:, 1:])
