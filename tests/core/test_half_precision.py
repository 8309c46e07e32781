"""A processor without arithmetic for half precision is told of, with the figure that was measured."""

from __future__ import annotations

import warnings

import pytest
import torch

from rtmdet_lab.core import half_precision
from rtmdet_lab.core.half_precision import slowdown, slowdown_note, warn_if_slower


def processor(monkeypatch, ratio: float) -> None:
    monkeypatch.setattr(half_precision, "slowdown", lambda name: ratio)


def test_slow_half_precision_is_named_with_its_figure_and_the_remedy(monkeypatch):
    processor(monkeypatch, 20.4)
    note = slowdown_note("cpu", "bf16", "set train.amp=off")
    assert note == "bf16 takes 20.4 times as long as float32 on this processor, measured just now: set train.amp=off"
    with pytest.warns(UserWarning, match=r"20\.4 times .*--precision"):
        warn_if_slower("cpu", "bf16")


def test_nothing_is_said_of_float32_of_gpus_and_of_processors_that_gain(monkeypatch):
    processor(monkeypatch, 20.4)
    for device, name in (("cpu", "off"), ("cpu", "fp32"), ("cuda", "bf16")):
        assert slowdown_note(device, name, "-") is None
    processor(monkeypatch, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_slower("cpu", "bf16")


def test_measuring_is_done_once_and_gives_a_ratio():
    slowdown.cache_clear()
    assert 0.01 < slowdown("bf16") < 1000
    assert slowdown("bf16") == slowdown("bf16")
    assert slowdown.cache_info().misses == 1


def test_autocast_is_off_bf16_or_fp16():
    for amp, expected in (("off", torch.float32), ("bf16", torch.bfloat16)):
        with half_precision.autocast(torch.device("cpu"), amp):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is expected
