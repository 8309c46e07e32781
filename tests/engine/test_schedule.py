"""Learning rate by hand (paper.md 4.5)."""

from __future__ import annotations

import itertools
import math

import pytest

from rtmdet_lab.config.settings import TrainConfig
from rtmdet_lab.engine.schedule import lr_factor

PUBLISHED = TrainConfig()
TOTAL = 40_000


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1e-5),
        (250, 1e-5 + (1 - 1e-5) * 250 / 999),
        (333, 1e-5 + (1 - 1e-5) / 3),
        (998, 1e-5 + (1 - 1e-5) * 998 / 999),
        (999, 1.0),
        (1000, 1.0),
        (19_999, 1.0),
        (20_000, 1.0),
        (25_000, 0.05 + 0.475 * (1 + math.cos(math.pi / 4))),  # 0.861
        (30_000, 0.525),  # half way down
        (35_000, 0.05 + 0.475 * (1 - math.cos(math.pi / 4))),  # 0.189
        (40_000, 0.05),
    ],
)
def test_published_schedule(step, expected):
    assert lr_factor(step, TOTAL, PUBLISHED) == pytest.approx(expected, abs=1e-9)


def test_pieces_rise_stay_and_fall():
    values = [lr_factor(step, TOTAL, PUBLISHED) for step in range(TOTAL)]
    assert all(one < other for one, other in itertools.pairwise(values[:1000]))
    assert set(values[999:20_000]) == {1.0}
    assert all(one > other for one, other in itertools.pairwise(values[20_000:]))
    assert min(values[1000:]) >= 0.05
    assert values[-1] == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize("total", [100, 1000, 5000])
def test_warm_up_takes_at_most_a_tenth_of_a_short_run(total):
    assert lr_factor(0, total, PUBLISHED) == pytest.approx(1e-5)
    assert lr_factor(total // 10 - 2, total, PUBLISHED) < 1
    assert lr_factor(total // 10 - 1, total, PUBLISHED) == 1.0


@pytest.mark.parametrize("total", range(1, 12))
def test_shortest_runs_have_a_positive_rate_at_every_step(total):
    assert all(0 < lr_factor(step, total, PUBLISHED) <= 1 for step in range(total))


def test_run_without_warm_up_starts_at_the_full_rate():
    assert lr_factor(0, 100, TrainConfig(warmup_steps=0)) == 1.0


def test_warm_up_settings_change_the_start():
    config = TrainConfig(warmup_steps=11, warmup_factor=0.5)
    assert [lr_factor(step, 1000, config) for step in (0, 5, 10)] == pytest.approx([0.5, 0.75, 1.0])


def test_warm_up_of_a_single_step_is_none():
    assert lr_factor(0, 1000, TrainConfig(warmup_steps=1)) == 1.0


def test_cosine_falls_from_the_start():
    config = TrainConfig(schedule="cosine", warmup_steps=0, lr_floor=0.0)
    found = [lr_factor(step, 100, config) for step in (0, 25, 50, 75, 100)]
    assert found == pytest.approx([0.5 * (1 + math.cos(math.pi * part)) for part in (0, 0.25, 0.5, 0.75, 1)])


def test_warm_up_and_cosine_multiply_where_they_overlap():
    config = TrainConfig(schedule="cosine", warmup_steps=11, warmup_factor=0.0, lr_floor=0.0)
    assert lr_factor(5, 110, config) == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi * 5 / 110)))


def test_constant_stays():
    config = TrainConfig(schedule="constant", warmup_steps=0)
    assert {lr_factor(step, 100, config) for step in range(101)} == {1.0}


@pytest.mark.parametrize("floor", [0.0, 0.05, 1.0])
def test_floor_is_where_it_ends(floor):
    config = TrainConfig(lr_floor=floor)
    assert lr_factor(TOTAL, TOTAL, config) == pytest.approx(floor)
    assert lr_factor(TOTAL + 50, TOTAL, config) == pytest.approx(floor)
