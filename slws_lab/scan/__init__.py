"""Selective scan: one port, several back-ends, one meaning (`reference`)."""

from __future__ import annotations

from slws_lab.scan.port import Backend, backends, describe, resolve, selective_scan

__all__ = ["Backend", "backends", "describe", "resolve", "selective_scan"]
