"""The device: chosen by what works, measured, purged."""

from pathlib import Path

import psutil
import pytest
import torch

from generation.engines.device import Device, works
from generation.engines.errors import CheckpointError, DeviceError, DeviceMemoryError, InvalidNumbersError
from generation.engines.precision import choose, require_finite

MEBIBYTE = 1024 * 1024


def test_auto_takes_something_that_works() -> None:
    assert works(Device.choose("auto").kind)


def test_the_cpu_can_be_insisted_on() -> None:
    assert Device.choose("cpu").kind == "cpu"


def test_a_device_that_does_not_exist_is_named() -> None:
    with pytest.raises(DeviceError, match="'tpu'"):
        Device.choose("tpu")


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_device_that_does_not_work_is_refused(kind: str) -> None:
    if works(kind):
        assert Device.choose(kind).kind == kind
    else:
        with pytest.raises(DeviceError, match=kind):
            Device.choose(kind)


def test_memory_is_measured_and_given_back() -> None:
    device = Device("cpu")
    device.purge()
    device.reset_peak()
    before = device.memory_used()
    held = torch.ones(64 * MEBIBYTE, dtype=torch.uint8)
    assert device.memory_used() - before > 56 * MEBIBYTE
    del held
    device.purge()
    assert device.memory_used() - before < 8 * MEBIBYTE
    assert device.peak_memory() - before > 56 * MEBIBYTE
    assert before < device.memory_total() <= psutil.virtual_memory().total


def test_a_seed_means_the_same_noise_everywhere() -> None:
    device = Device("cpu")
    assert device.generator(3).device.type == "cpu"
    assert torch.randn(4, generator=device.generator(3)).equal(torch.randn(4, generator=device.generator(3)))


def test_out_of_memory_is_one_error_that_keeps_nothing_alive() -> None:
    with pytest.raises(DeviceMemoryError) as caught, Device("cpu").memory_errors("trying"):
        torch.empty(2**60, dtype=torch.uint8)
    assert caught.value.__context__.__traceback__ is None
    assert "trying" in caught.value.message


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), Device("cpu").memory_errors("trying"):
        torch.ones(2, 3) @ torch.ones(2, 3)
    with pytest.raises(CheckpointError), Device("cpu").memory_errors("trying"):
        raise CheckpointError("broken")


def test_the_cpu_calculates_in_single_precision() -> None:
    assert choose(Device("cpu")) == "fp32"


def test_large_numbers_whose_sum_is_too_large_are_numbers() -> None:
    for dtype, value in ((torch.float16, 60_000.0), (torch.float32, 3e38)):
        numbers = torch.full((8, 8), value, dtype=dtype)
        assert require_finite(numbers, "here") is numbers
    opposites = torch.tensor([torch.inf, -torch.inf])
    with pytest.raises(InvalidNumbersError):
        require_finite(opposites, "here")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number_is_found(value: float) -> None:
    numbers = torch.zeros(3, 3)
    assert require_finite(numbers, "here") is numbers
    numbers[1, 1] = value
    with pytest.raises(InvalidNumbersError, match="here"):
        require_finite(numbers, "here")


def test_a_peak_that_the_system_will_not_forget_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.engines.device.CLEAR_REFS", Path("/proc/self"))  # is there, and cannot be written
    device = Device("cpu")
    device.reset_peak()
    assert device.peak_memory() > 0
