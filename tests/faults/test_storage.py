"""A full disk and a network folder that goes away: what was there stays whole, and one sentence says what to do."""

from __future__ import annotations

import errno
import gc
import json
import os
from pathlib import Path

import nbformat
import pytest
import torch
from made_disks import away, fill, small_disk
from made_kills import error_of, final, run
from made_runs import assert_same, make_task, train
from made_sets import assert_one_sentence, write_set
from made_sweeps import write_experiment

from rtmdet_lab.core import files
from rtmdet_lab.core.errors import DataError, StorageError
from rtmdet_lab.core.files import write_json
from rtmdet_lab.data import images
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.engine.log import MetricsLog
from rtmdet_lab.experiment.sweep import worker
from rtmdet_lab.experiment.sweep.plan import plan
from rtmdet_lab.experiment.sweep.stopping import KernelStop
from rtmdet_lab.models.checkpoints import read_checkpoint

DISK_KIB = 32 * 1024


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", DISK_KIB) as folder:
        yield folder


# A full disk ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_disk_that_fills_up_during_a_checkpoint_keeps_the_previous_one_and_the_run_goes_on(tmp_path, disk):
    assert run(tmp_path / "whole") == 0
    folder = disk / "run"
    assert run(folder, "after an epoch", 1) == -9
    size = (folder / "last.state").stat().st_size
    filling = fill(disk, leave=size // 2)
    assert run(folder) == 2
    message = assert_one_sentence(error_of(folder), str(folder / "last.state"), "No space left on device", "MiB are needed")
    needed = float(message.split("about ")[1].split(" MiB")[0]) * 2**20
    assert 0.5 * size < needed < 2 * size
    assert torch.load(folder / "last.state", weights_only=True)["epoch"] == 1
    assert read_checkpoint(folder / "last.safetensors").tensors
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    filling.unlink()
    assert run(folder) == 0
    assert_same(final(tmp_path / "whole"), final(folder))


def test_disk_that_is_full_when_the_log_is_written_loses_no_epoch(disk):
    record = {"step": 10, "lr": 0.1, "images_per_s": 5.0, "losses": {"loss_cls": 1.0}, "text": "x" * 5000}
    with MetricsLog(disk / "run") as log:
        log.write(record)
        filling = fill(disk)
        with pytest.raises(StorageError) as error:
            log.write({**record, "step": 20})
        assert_one_sentence(error.value, str(disk / "run"), "No space left on device", "bytes are needed", "--resume")
    filling.unlink()
    history = [{**record, "step": 10 * number} for number in range(1, 9)]
    with MetricsLog(disk / "run") as log:
        log.forget_after(80, history)
    assert [json.loads(line) for line in (disk / "run" / "metrics.jsonl").read_text().splitlines()] == history


def test_disk_that_is_full_when_a_record_is_written_keeps_the_earlier_one(disk):
    write_json(disk / "results.json", {"AP": 0.5})
    fill(disk)
    with pytest.raises(StorageError) as error:
        write_json(disk / "results.json", {"AP": list(range(100_000))})
    assert_one_sentence(error.value, str(disk / "results.json"), "No space left on device", "about 1.0 MiB are needed")
    assert json.loads((disk / "results.json").read_text()) == {"AP": 0.5}


@pytest.mark.slow
def test_disk_that_is_full_when_a_notebook_is_written_fails_the_run_and_the_next_start_does_it(tmp_path, disk, monkeypatch):
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("seed = 0", metadata={"tags": ["parameters"]})])
    made.metadata = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(made, tmp_path / "empty.ipynb")
    monkeypatch.setattr(worker, "run_notebook", lambda: tmp_path / "empty.ipynb")
    (one,) = plan(write_experiment(tmp_path, "3", "5"), "smoke", [0], disk / "out", rows=["3"], retries=0)
    Path(one.folder).mkdir(parents=True)
    filling = fill(disk, leave=4096)
    with pytest.raises(StorageError) as error:  # not even the reason can be kept: the worker says it and ends
        worker.work(one, KernelStop())
    assert_one_sentence(error.value, one.folder, "No space left on device")
    del error  # a worker's process ends here; the lock that its traceback holds goes
    gc.collect()
    filling.unlink()
    assert worker.work(one, KernelStop()) == worker.FAILED  # this notebook trains nothing, but now it was executed
    assert "without the record of this run" in (Path(one.folder) / worker.ERROR_NAME).read_text()
    nbformat.read(Path(one.folder) / worker.NOTEBOOK_NAME, as_version=4)


# A network folder that goes away ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT])
def test_images_of_a_folder_that_returns_are_read(tmp_path, monkeypatch, number):
    made = write_set(tmp_path, train=1)
    monkeypatch.setattr(Path, "read_bytes", away(Path.read_bytes, 3, number))
    assert len(images.read_bytes(made / "train" / "1.png")) > 100


def test_folder_that_stays_away_stops_the_training_even_where_bad_images_are_skipped(tmp_path, monkeypatch):
    made = write_set(tmp_path, train=6)
    source = CocoDataset(made / "train", made / "annotations/instances_train.json", training=True)
    monkeypatch.setattr(files, "PATIENCE_S", 0.2)
    monkeypatch.setattr(Path, "read_bytes", away(Path.read_bytes, 10**9))
    with pytest.raises(DataError) as error:
        train(tmp_path / "run", make_task(**{"data.on_bad": "skip"}), source=source)
    assert_one_sentence(error.value, str(made / "train"), os.strerror(errno.ESTALE), "network folder")


def test_file_that_does_not_exist_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(files.time, "sleep", lambda _: pytest.fail("waited"))
    with pytest.raises(DataError, match="does not exist"):
        images.read_bytes(tmp_path / "none.png")


@pytest.mark.parametrize("function", ["replace", "fsync"])
def test_file_is_written_when_the_folder_returns(tmp_path, monkeypatch, function):
    monkeypatch.setattr(os, function, away(getattr(os, function), 2))
    write_json(tmp_path / "results.json", {"AP": 0.5})
    assert json.loads((tmp_path / "results.json").read_text()) == {"AP": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_file_that_cannot_be_written_for_long_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE_S", 0.2)
    monkeypatch.setattr(os, "fsync", away(os.fsync, 10**9, errno.EIO))
    with pytest.raises(StorageError) as error:
        write_json(tmp_path / "results.json", {"AP": 0.5})
    assert_one_sentence(error.value, str(tmp_path / "results.json"), os.strerror(errno.EIO), "intact")


def test_state_of_a_run_waits_for_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", away(os.fsync, 2))
    _, history = train(tmp_path, **{"train.epochs": 1, "train.weak_epochs": 1})
    assert len(history) == 1
    assert torch.load(tmp_path / "last.state", weights_only=True)["epoch"] == 1
