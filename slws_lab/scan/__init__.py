"""Selective scan: one port, several back-ends, one meaning (`reference`); and the convolution beside it, compiled."""

from __future__ import annotations

from slws_lab.scan.conv import TAPS, conv_silu
from slws_lab.scan.inputs import ScanInputs
from slws_lab.scan.port import Backend, backends, describe, resolve, selective_scan, selective_scan_pair

__all__ = [
    "TAPS",
    "Backend",
    "ScanInputs",
    "backends",
    "conv_silu",
    "describe",
    "resolve",
    "selective_scan",
    "selective_scan_pair",
]
