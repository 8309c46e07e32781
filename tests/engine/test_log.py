"""One line per epoch, and TensorBoard events beside it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from made_sets import assert_one_sentence

from rtmdet_lab.core.errors import StorageError
from rtmdet_lab.engine.log import MetricsLog, read_log


def record(epoch: int, **extra) -> dict:
    return {
        "epoch": epoch,
        "stage": "strong",
        "step": 10 * (epoch + 1),
        "lr": 0.001,
        "losses": {"loss_cls": 1.0 / (epoch + 1)},
        "seconds": 2.0,
        "images_per_s": 8.0,
    } | extra


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder / "tensorboard"))
    reader.Reload()
    return {tag: [(one.step, one.value) for one in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def test_each_epoch_is_a_line_and_a_point_in_tensorboard(tmp_path):
    with MetricsLog(tmp_path / "run") as log:
        for epoch in range(3):
            log.write(record(epoch, **({"metrics": {"AP": 0.25}} if epoch == 2 else {})))
    assert lines(tmp_path / "run") == [record(0), record(1), record(2, metrics={"AP": 0.25})]
    found = events(tmp_path / "run")
    assert set(found) == {"lr", "images_per_s", "losses/loss_cls", "metrics/AP"}
    assert [step for step, _ in found["losses/loss_cls"]] == [10, 20, 30]
    assert [value for _, value in found["losses/loss_cls"]] == pytest.approx([1.0, 0.5, 1 / 3])
    assert found["metrics/AP"] == [(30, 0.25)]


def test_lines_are_on_disk_before_the_log_is_closed(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write(record(0))
        assert lines(tmp_path) == [record(0)]


def test_resumed_log_forgets_what_came_after_the_state(tmp_path, monkeypatch):
    with MetricsLog(tmp_path) as log:
        for epoch in range(4):
            log.write(record(epoch))
    (tmp_path / "metrics.jsonl").open("a").write('{"epoch": 4, "st')  # cut short by a kill
    later = time.time() + 60  # event files are read in the order of the second in their names
    monkeypatch.setattr(time, "time", lambda: later)
    with MetricsLog(tmp_path) as log:
        log.forget_after(20)
        log.write(record(2, seconds=9.0))
    assert lines(tmp_path) == [record(0), record(1), record(2, seconds=9.0)]
    assert [step for step, _ in events(tmp_path)["lr"]] == [10, 20, 30]


def test_resumed_log_adds_the_epochs_that_a_kill_kept_from_it(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write(record(0))
    with MetricsLog(tmp_path) as log:
        log.forget_after(30, [record(0), record(1), record(2)])
        log.write(record(3))
    assert lines(tmp_path) == [record(0), record(1), record(2), record(3)]
    assert [step for step, _ in events(tmp_path)["lr"]] == [10, 20, 30, 40]


def test_epoch_logged_after_a_state_of_its_last_step_is_forgotten(tmp_path):
    with MetricsLog(tmp_path) as log:
        for epoch in range(3):
            log.write(record(epoch))
    with MetricsLog(tmp_path) as log:
        log.forget_after(30, [record(0), record(1)])  # a state from before the validation of the third epoch
        log.write(record(2, seconds=9.0))
    assert lines(tmp_path) == [record(0), record(1), record(2, seconds=9.0)]


def test_forgetting_without_a_log_and_closing_without_a_line_do_nothing(tmp_path):
    with MetricsLog(tmp_path / "new") as log:
        log.forget_after(5)
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_one_sentence(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with MetricsLog(tmp_path) as log, pytest.raises(StorageError) as error:
        log.write(record(0))
    assert_one_sentence(error.value, "metrics.jsonl", "No space left")


STRANGE = [None, [], {}, -1, 10**400, float("inf"), True]


@pytest.mark.parametrize("value", STRANGE, ids=lambda value: str(value)[:9])
def test_lines_with_strange_fields_are_no_epochs(tmp_path, value):
    good = record(0)
    strange = [{**good, name: value} for name in good if (name, value) != ("losses", {})]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*strange, value]))
    assert read_log(tmp_path / "metrics.jsonl") == []
    with MetricsLog(tmp_path) as log:
        log.forget_after(10, [good])
    assert lines(tmp_path) == [good]
