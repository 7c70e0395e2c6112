"""GPUs as NVML and CUDA_VISIBLE_DEVICES name them, parts of GPUs, memory in use, and drivers that fail; by a stand-in for NVML."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from slws_lab.errors import UserError
from slws_lab.launch import inventory
from slws_lab.launch.inventory import GB, Gpu, Machine, own_gb, shares_by_mps, visible

A, B, C = (Gpu("0", "H200", 139.0, "GPU-aa11"), Gpu("1", "H200", 139.0, "GPU-aa22"), Gpu("2", "L4", 22.0, "GPU-bb33"))
PARTS = (Gpu("0:0", "A100 MIG 3g", 20.0, "MIG-1"), Gpu("0:1", "A100 MIG 1g", 5.0, "MIG-2"), B)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, (A, B, C)),
        ("", ()),
        ("-1", ()),
        ("2", (C,)),
        (" 2, 0 ", (C, A)),
        ("GPU-bb33", (C,)),
        ("GPU-b,1", (C, B)),
        ("1,1", (B,)),
        ("0,-1,1", (A,)),
    ],
)
def test_cuda_visible_devices_names_gpus_by_number_or_uuid_in_its_own_order(names: str | None, expected: Any) -> None:
    assert visible((A, B, C), names) == expected


@pytest.mark.parametrize(("names", "expected"), [("MIG-2", (PARTS[1],)), ("0", PARTS[:2]), (None, PARTS)])
def test_parts_of_a_gpu_are_named_by_their_own_uuid_and_have_their_own_memory(names: str | None, expected: Any) -> None:
    assert visible(PARTS, names) == expected


@pytest.mark.parametrize(
    ("names", "said"), [("3", "no GPU"), ("GPU-aa", "more than one"), ("0,GPU-zz", "no GPU"), ("x", "no GPU")]
)
def test_a_name_that_fits_no_gpu_or_several_is_refused_with_what_there_is(names: str, said: str) -> None:
    with pytest.raises(UserError, match=rf"(?s){said}.*CUDA_VISIBLE_DEVICES.*2 \(GPU-bb33\)"):
        visible((A, B, C), names)


def test_without_gpus_any_name_is_as_good_as_none() -> None:
    assert visible((), "0") == ()


class Nvml:
    """Stands for NVML: two GPUs, the second cut into two parts of three that it may have."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        memory = {"0": 80, "1": 40, "1/0": 20, "1/2": 10}
        self.put(
            nvmlInit=lambda: None,
            nvmlDeviceGetCount=lambda: 2,
            nvmlDeviceGetHandleByIndex=str,
            nvmlDeviceGetHandleByUUID=lambda uuid: uuid.decode().removeprefix("U-"),
            nvmlDeviceGetMigMode=self.mig_mode,
            nvmlDeviceGetMaxMigDeviceCount=lambda handle: 3,
            nvmlDeviceGetMigDeviceHandleByIndex=self.part,
            nvmlDeviceGetName=lambda handle: f"Kind {handle}",
            nvmlDeviceGetUUID=lambda handle: f"U-{handle}",
            nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=memory[handle] * GB, used=5 * GB),
            nvmlDeviceGetComputeRunningProcesses=lambda handle: [
                SimpleNamespace(pid=os.getpid(), usedGpuMemory=2 * GB), SimpleNamespace(pid=7, usedGpuMemory=None),
            ],
        )  # fmt: skip

    def put(self, **functions: Any) -> None:
        for name, function in functions.items():
            self.monkeypatch.setattr(pynvml, name, function)

    def fail(self, name: str, code: int) -> None:
        def function(*_: object) -> None:
            raise pynvml.NVMLError(code)

        self.put(**{name: function})

    @staticmethod
    def mig_mode(handle: str) -> list[int]:
        if handle == "0":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [1, 1]

    @staticmethod
    def part(handle: str, number: int) -> str:
        if number == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return f"{handle}/{number}"


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nvml]:
    inventory._found.cache_clear()
    yield Nvml(monkeypatch)
    inventory._found.cache_clear()


def test_gpus_and_parts_are_found_with_their_memory(nvml: Nvml) -> None:
    expected = [("0", 80.0, "U-0"), ("1:0", 20.0, "U-1/0"), ("1:2", 10.0, "U-1/2")]
    assert [(gpu.index, gpu.memory_gb, gpu.visible) for gpu in Machine().gpus()] == expected


def test_memory_in_use_is_told_in_all_and_for_each_process_that_the_driver_tells_of(nvml: Nvml) -> None:
    usage = Machine().usage(Machine().gpus()[0])
    assert (usage.used_gb, dict(usage.processes)) == (5.0, {os.getpid(): 2.0})
    nvml.fail("nvmlDeviceGetComputeRunningProcesses", pynvml.NVML_ERROR_NOT_SUPPORTED)
    assert dict(Machine().usage(Machine().gpus()[0]).processes) == {}


def test_a_process_knows_what_it_holds_or_that_nobody_tells(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert own_gb() == 2.0
    nvml.put(nvmlDeviceGetComputeRunningProcesses=lambda handle: [])
    assert own_gb() is None


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED])
def test_without_a_driver_there_is_no_gpu(nvml: Nvml, code: int) -> None:
    nvml.fail("nvmlInit", code)
    assert Machine().gpus() == ()


@pytest.mark.parametrize(
    ("function", "code", "said"),
    [
        ("nvmlInit", pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "the NVIDIA driver fails.*mismatch"),
        ("nvmlDeviceGetMemoryInfo", pynvml.NVML_ERROR_GPU_IS_LOST, "GPU 0 fails.*lost"),
    ],
)
def test_a_driver_that_fails_is_told_and_not_taken_for_none(nvml: Nvml, function: str, code: int, said: str) -> None:
    nvml.fail(function, code)
    with pytest.raises(UserError, match=rf"(?s){said}.*gpus: 0"):
        Machine().gpus()


def test_mps_is_seen_by_its_pipe(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert not shares_by_mps()
    (tmp_path / "control").touch()
    assert shares_by_mps()
