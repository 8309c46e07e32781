"""Half precision: the context that computes in it, and how much longer it takes on this processor, which nobody says."""

from __future__ import annotations

import functools
import time
import warnings

import torch

NAMES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_WORTH_SAYING = 1.2  # times float32
_MEASURED_S = 0.1  # of each kind


def autocast(device: torch.device, amp: str) -> torch.autocast:
    """Returns the context in which a network computes as ``train.amp`` says: "off", "bf16" or "fp16"."""
    return torch.autocast(device.type, dtype=NAMES.get(amp), enabled=amp != "off")


@functools.cache
def slowdown(name: str) -> float:
    """Returns the time of a convolution on the CPU in "bf16" or "fp16" over that in float32; measured once."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several wait for each other, which takes longer than so small a convolution
    try:
        return _seconds(NAMES[name]) / _seconds(torch.float32)
    finally:
        torch.set_num_threads(threads)


def slowdown_note(device: torch.device | str, name: str, remedy: str) -> str | None:
    """Returns a sentence that ends with ``remedy`` where half precision loses time, None on a GPU and where it does not."""
    if name not in NAMES or torch.device(device).type != "cpu" or slowdown(name) < _WORTH_SAYING:
        return None
    return f"{name} takes {slowdown(name):.1f} times as long as float32 on this processor, measured just now: {remedy}"


def warn_if_slower(device: torch.device | str, name: str) -> None:
    """Warns where a network in half precision takes longer than in float32, see :func:`slowdown_note`."""
    note = slowdown_note(device, name, "leave --precision out, or give it fp32")
    if note:
        warnings.warn(note, stacklevel=3)


@torch.inference_mode()
def _seconds(dtype: torch.dtype) -> float:
    image = torch.ones(1, 32, 32, 32, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(32, 32, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
    torch.conv2d(image, weight, padding=1)  # prepares
    seconds: list[float] = []
    deadline = time.perf_counter() + _MEASURED_S
    while len(seconds) < 2 or time.perf_counter() < deadline:
        begin = time.perf_counter()
        torch.conv2d(image, weight, padding=1)
        seconds.append(time.perf_counter() - begin)
    return min(seconds)  # the one that nothing disturbed
