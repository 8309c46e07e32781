"""Latency by part: every part once, in order, and adding up."""

from __future__ import annotations

import time

import pytest
import torch

from rtmdet_lab import create_model, fuse
from rtmdet_lab.analysis.latency import measure_latency
from rtmdet_lab.analysis.model_summary import PARTS, parts_of
from rtmdet_lab.core.errors import SettingError

torch.set_num_threads(1)


def small(name: str = "rtmdet-tiny", **settings):
    torch.manual_seed(0)
    return create_model(name, 3, width=0.125, **settings)


def test_every_part_is_timed_in_order_and_parts_add_up():
    found = measure_latency(small(), 64, runs=1, warmup=1)
    assert tuple(found.parts_ms) == PARTS
    assert all(value > 0 for value in found.parts_ms.values())
    assert found.total_ms == pytest.approx(sum(found.parts_ms.values()))
    assert (found.runs, found.device, found.threads) == (1, "CPU", 1)


def test_time_is_booked_on_the_part_that_takes_it_and_warm_up_is_not_counted():
    model = small().train()
    calls = []

    def slow(*_):
        calls.append(len(calls))
        time.sleep(2.0 if len(calls) == 1 else 0.1)  # the first pass, a warm-up, is slower by far

    model.backbone.stage3.register_forward_pre_hook(slow)
    found = measure_latency(model, 64, runs=3, warmup=1)
    assert len(calls) == 4
    assert 100 <= found.parts_ms["stage3"] < 2000
    assert max(found.parts_ms, key=found.parts_ms.get) == "stage3"
    assert model.training
    assert all(len(part._forward_hooks) == 0 for part in parts_of(model).values())


def test_fused_network_has_the_same_parts():
    assert tuple(measure_latency(fuse(small(block="ppyoloe_rep")), 64, runs=1, warmup=0).parts_ms) == PARTS


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_gpu_is_timed_by_its_own_clock():
    model = small()
    found = measure_latency(model, 64, runs=5, warmup=2, device="cuda")
    assert found.device == torch.cuda.get_device_name()
    assert all(value > 0 for value in found.parts_ms.values())
    assert next(model.parameters()).device.type == "cpu"


@pytest.mark.parametrize("options", [{"input_size": 16}, {"runs": 0}, {"batch_size": 0}])
def test_impossible_requests_are_refused(options):
    with pytest.raises(SettingError, match="must be at least"):
        measure_latency(small(), **options)
