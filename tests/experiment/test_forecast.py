"""Memory and time that are forecast from one image agree with what a batch takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from made_runs import make_task
from sources import Squares

from rtmdet_lab.experiment.forecast import Forecast, free_memory, measure

CPU = torch.device("cpu")


def resident(kind: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


PEAK = """
import sys, time
sys.path.insert(0, {folder!r})
from test_forecast import CPU, Path, Squares, make_task, measure, resident, torch
from rtmdet_lab.core.structures import Targets
from rtmdet_lab.engine.optimizer import build_optimizer
task = make_task(**{{"augment.input_size": 320, "model.width": 0.25}})
forecast = measure(task.config, Squares(8), CPU)
size, model = 16, task.model.train()
build_optimizer(model, task.config.train)
boxes = torch.tensor([[20.0, 20.0, 120.0, 90.0]] * 3)
targets = [Targets(boxes, torch.zeros(3, dtype=torch.long), meta=None) for _ in range(size)]
images = torch.randn(size, 3, 320, 320)
Path("/proc/self/clear_refs").write_text("5")
before, begin = resident("VmRSS"), time.monotonic()
torch.stack(list(task.criterion(model(images), targets).values())).sum().backward()
seconds = (time.monotonic() - begin) / size
print((resident("VmHWM") - before) / size, forecast.per_image, seconds, forecast.learn_s)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a process is read from Linux")
def test_forecast_is_near_the_peak_of_a_step():
    code = PEAK.format(folder=str(Path(__file__).parent))
    # A process of its own: memory that earlier tests left free would hide what the step takes.
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    measured, expected, seconds, learn_s = map(float, ended.stdout.split())
    assert measured == pytest.approx(expected, rel=0.35)
    assert 0.1 < seconds / learn_s < 4


def test_measuring_leaves_the_random_state_alone():
    config = make_task().config
    before = torch.get_rng_state()
    forecast = measure(config, Squares(8), CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert min(forecast.fixed, forecast.per_image, forecast.learn_s, forecast.load_s) > 0


def test_memory_and_time_by_hand():
    config = make_task(**{"train.epochs": 10, "train.weak_epochs": 2, "train.batch_size": 4, "train.workers": 0}).config
    forecast = Forecast("cpu", 1000, 500, 2.0, 0.5)
    assert forecast.memory(config) == 1000 + 4 * 500 + 4 * 3 * 64**2
    # Without workers an image takes 2 + 0.5 s; every epoch of TINY is validated once, its weak ones twice in this estimate.
    assert forecast.seconds(config, 20, 4) == pytest.approx(10 * 20 * 2.5 + (10 + 2) * 4 * 0.35 * 2.5)


def test_free_memory_is_within_the_machine():
    total = (
        int(next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line).split()[1]) * 1024
    )
    assert 0 < free_memory(CPU) < total
