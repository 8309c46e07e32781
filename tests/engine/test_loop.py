"""The training loop: it learns, keeps its books, and stops without losing anything."""

from __future__ import annotations

import errno
import gc
import math
import os
import signal
import threading
from pathlib import Path

import pytest
import torch
from made_runs import STILL, Recorder, Squares, assert_same, make_task, train, weights_of
from made_sets import assert_one_sentence, write_set
from torch.testing import assert_close

from rtmdet_lab.core.errors import DataError, StorageError
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.data.loaders import Batch
from rtmdet_lab.engine import hooks, loop
from rtmdet_lab.engine.hooks import Hook, NonFiniteLossError
from rtmdet_lab.engine.interrupt import TrainingInterrupted
from rtmdet_lab.engine.loop import fit
from rtmdet_lab.engine.state import STATE_NAME
from rtmdet_lab.engine.weights import kept_weights
from rtmdet_lab.models.checkpoints import read_checkpoint

ONE_EPOCH = {"train.epochs": 1, "train.weak_epochs": 1, "augment.mosaic": False, "augment.mixup": False}


def norm_statistics(model) -> list[torch.Tensor]:
    return [value.clone() for name, value in model.named_buffers() if "running" in name]


# It learns ---------------------------------------------------------------------------------------------------------------


def test_loss_goes_down(tmp_path):
    changes = STILL | {"train.epochs": 10, "train.weak_epochs": 10, "train.lr": 0.01, "train.batch_size": 8}
    changes |= {"train.ema": False, "model.exp_on_reg": True}
    _, history = train(tmp_path, source=Squares(32), **changes)
    losses = [sum(record["losses"].values()) for record in history]
    assert losses[-1] < 0.75 * losses[0]
    assert history[-1]["metrics"]["AP50"] > history[0]["metrics"]["AP50"]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_decoded_images_that_are_kept_change_no_weight(tmp_path, monkeypatch, workers):
    opened = []
    open_cache = loop.open_cache
    monkeypatch.setattr(loop, "open_cache", lambda *arguments: opened.append(open_cache(*arguments)) or opened[-1])
    folder = write_set(tmp_path / "set")
    source = CocoDataset(folder / "train", folder / "annotations" / "instances_train.json", training=True)
    ends = []
    for kept in (False, True):
        task, history = train(
            tmp_path / str(kept), source=source, **{"train.workers": workers, "data.cache_decoded": kept, "train.epochs": 3}
        )
        ends.append((weights_of(task.model), history))
    assert_same(*ends)
    assert opened[0] is None
    assert opened[1].bytes == 8 * (1 + 3 * 64 * 64)
    assert opened[1]._file.closed


class EveryEpoch(Hook):
    """Calls a function with the history after every epoch."""

    def __init__(self, function) -> None:
        self.function = function

    def after_epoch(self, run, record):
        self.function(run.state.history)


def test_history_has_one_complete_record_per_epoch(tmp_path):
    _, history = train(tmp_path, source=Squares(10), **{"train.epochs": 3, "train.weak_epochs": 1, "train.val_interval": 2})
    assert [record["epoch"] for record in history] == [0, 1, 2]
    assert [record["stage"] for record in history] == ["strong", "strong", "weak"]
    assert [record["step"] for record in history] == [3, 6, 9]  # 10 images in batches of 4
    for record in history:
        assert set(record) - {"metrics"} == {
            "epoch",
            "stage",
            "step",
            "lr",
            "losses",
            "seconds",
            "load_seconds",
            "images_per_s",
        }
        assert set(record["losses"]) == {"loss_cls", "loss_bbox"}
        assert all(math.isfinite(value) for value in record["losses"].values())
        assert 0 < record["lr"] <= 0.001
        assert record["seconds"] > record["load_seconds"] > 0
        assert record["images_per_s"] == pytest.approx(12 / record["seconds"])
    assert "AP" in history[1]["metrics"]


def test_mean_loss_of_an_epoch_is_that_of_its_batches(tmp_path):
    recorder = Recorder()
    _, history = train(tmp_path, reporter=recorder, **ONE_EPOCH)
    # The reporter is told the mean so far: of the first batch that is its own loss, at the end the epoch's.
    assert [step[:2] for step in recorder.steps] == [(0, 1), (0, 2)]
    assert recorder.steps[-1][2] == history[0]["losses"]


def test_weights_are_kept_as_often_as_asked_from_the_untrained_ones_on(tmp_path):
    untrained = weights_of(make_task().model)
    seen = {}

    class Averages(Recorder):
        def epoch(self, record, history):
            seen[record["epoch"] + 1] = read_checkpoint(tmp_path / "last.safetensors").tensors

    settings = {"train.epochs": 5, "train.weak_epochs": 1, "train.keep_every": 2, "train.ema": False}
    train(tmp_path, reporter=Averages(), **settings)
    kept = kept_weights(tmp_path)
    assert list(kept) == [0, 2, 4]
    first = read_checkpoint(kept[0]).tensors
    assert all(torch.equal(first[key], untrained[key]) for key in untrained)
    for epoch in (2, 4):
        tensors = read_checkpoint(kept[epoch]).tensors
        assert all(torch.equal(value, seen[epoch][key]) for key, value in tensors.items())
    assert any(not torch.equal(value, read_checkpoint(kept[2]).tensors[key]) for key, value in first.items())


def test_no_weights_are_kept_unless_asked_for(tmp_path):
    train(tmp_path, **ONE_EPOCH)
    assert kept_weights(tmp_path) == {}
    (tmp_path / "epoch-of-iron.safetensors").touch()
    assert kept_weights(tmp_path) == {}


@pytest.mark.slow
def test_run_goes_on_with_weights_kept_more_often(tmp_path):
    settings = {"train.epochs": 2, "train.weak_epochs": 1}
    with pytest.raises(TrainingInterrupted):
        train(tmp_path, reporter=Recorder(stop=(0, 1)), **settings)
    train(tmp_path, resume=True, **settings, **{"train.keep_every": 1})
    assert list(kept_weights(tmp_path)) == [1, 2]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"train.epochs": 5, "train.weak_epochs": 2, "train.val_interval": 2}, [2, 4, 5]),
        pytest.param(
            {"train.epochs": 5, "train.weak_epochs": 0, "train.val_interval": 2}, [2, 4, 5], marks=pytest.mark.slow
        ),
        pytest.param({"train.epochs": 3, "train.weak_epochs": 3, "train.val_interval": 10}, [3], marks=pytest.mark.slow),
        ({"train.epochs": 2, "train.weak_epochs": 1, "train.val_interval": None}, [1, 2]),
    ],
)
def test_validation_is_due_at_the_interval_and_at_the_end_whatever_the_stages(tmp_path, monkeypatch, settings, expected):
    fake_scores(monkeypatch, [0.1] * 10)
    _, history = train(tmp_path, source=Squares(4), **settings)
    assert [record["epoch"] + 1 for record in history if "metrics" in record] == expected


class FakeEvaluator:
    def __init__(self, score: float) -> None:
        self.score = score

    def summary(self) -> dict[str, float]:
        return {"AP": self.score}


def fake_scores(monkeypatch, scores: list[float]) -> None:
    remaining = iter(scores)
    monkeypatch.setattr(hooks, "run_evaluation", lambda *_: FakeEvaluator(next(remaining)))


@pytest.mark.parametrize("score_of", ["best", pytest.param("last", marks=pytest.mark.slow)])
def test_best_weights_are_those_of_the_best_validation_and_the_model_ends_with_those_that_score(
    tmp_path, monkeypatch, score_of
):
    fake_scores(monkeypatch, [0.1, 0.3, 0.3, 0.2])
    kept = []
    task = make_task(**{"train.epochs": 4, "train.weak_epochs": 0, "train.score_of": score_of})

    def keep(_):
        kept.append(read_checkpoint(tmp_path / "last.safetensors").tensors)

    fit(task, Squares(8), Squares(2), tmp_path, reporter=Recorder(), hooks=[EveryEpoch(keep)])
    best = read_checkpoint(tmp_path / "best.safetensors").tensors
    assert all(torch.equal(best[key], kept[1][key]) for key in best)  # of equals the first
    assert not all(torch.equal(best[key], kept[3][key]) for key in best)
    own, scored = task.model.state_dict(), kept[1] if score_of == "best" else kept[3]
    assert all(torch.equal(scored[key], own[key]) for key in scored)
    assert not task.model.training


@pytest.mark.slow
def test_weights_do_not_depend_on_how_often_they_are_looked_at(tmp_path):
    settings = {"train.epochs": 3, "train.weak_epochs": 1}
    often, seldom = (
        weights_of(train(tmp_path / str(every), **settings, **{"train.val_interval": every})[0].model) for every in (1, 3)
    )
    assert_same(often, seldom)


def test_kept_weights_are_the_averaged_ones_and_know_their_classes(tmp_path):
    train(tmp_path, **ONE_EPOCH)
    state = torch.load(tmp_path / STATE_NAME, weights_only=True)
    last = read_checkpoint(tmp_path / "last.safetensors")
    assert last.classes == ("wide", "tall")
    assert last.model == "rtmdet-nano"
    assert last.config["train"]["epochs"] == 1
    average = state["ema"]["model"]
    assert all(torch.equal(last.tensors[key], average[key]) for key in average)
    assert not all(torch.equal(state["model"][key], average[key]) for key in average)


def test_without_average_the_trained_weights_are_kept(tmp_path):
    train(tmp_path, **ONE_EPOCH, **{"train.ema": False})
    state = torch.load(tmp_path / STATE_NAME, weights_only=True)
    assert state["ema"] is None
    last = read_checkpoint(tmp_path / "last.safetensors").tensors
    assert all(torch.equal(last[key], state["model"][key]) for key in last)


def test_run_leaves_its_files_and_no_others(tmp_path):
    train(tmp_path / "deep" / "run", **ONE_EPOCH)
    names = {path.name for path in (tmp_path / "deep" / "run").iterdir()}
    states = {STATE_NAME, "earlier.state"}
    assert names == states | {"last.safetensors", "best.safetensors", "metrics.jsonl", "tensorboard"}


def test_same_seed_gives_the_same_run_and_another_seed_another(tmp_path):
    first = weights_of(train(tmp_path / "a", **ONE_EPOCH)[0].model)
    again = weights_of(train(tmp_path / "b", **ONE_EPOCH)[0].model)
    other = weights_of(train(tmp_path / "c", **ONE_EPOCH, seed=1)[0].model)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_hook_hears_of_every_epoch_and_the_reporter_is_closed(tmp_path):
    heard, recorder = [], Recorder()
    hook = EveryEpoch(lambda history: heard.append(len(history)))
    fit(make_task(), Squares(4), Squares(2), tmp_path, reporter=recorder, hooks=[hook])
    assert heard == [1, 2]
    assert len(recorder.records) == 2
    assert recorder.closed == 1


# Steps -------------------------------------------------------------------------------------------------------------------


class SameImage(Squares):
    """One image under many numbers: any batch of it has the same loss."""

    def load(self, index):
        return super().load(0)


def test_two_batches_of_two_make_the_step_of_one_batch_of_four(tmp_path):
    # Equal halves: the mean of their normalised losses is the loss of the whole.
    changes = ONE_EPOCH | STILL | {"train.optimizer": "sgd", "train.norm_eval": True, "train.lr": 0.05, "train.ema": False}
    changes |= {"model.exp_on_reg": True}  # boxes that overlap from the start: the normaliser is above its floor of 1
    source = SameImage(8)

    def after(folder, batch_size, accumulate):
        settings = changes | {"train.batch_size": batch_size, "train.gradient_accumulation_steps": accumulate}
        task, history = train(tmp_path / folder, source=source, **settings)
        return weights_of(task.model), history[0]

    whole, whole_record = after("whole", 4, 1)
    halves, halves_record = after("halves", 2, 2)
    single, _ = after("single", 2, 1)
    assert whole_record["step"] == halves_record["step"] == 2
    for key in whole:
        assert_close(halves[key], whole[key], rtol=1e-4, atol=1e-5)
    assert any((single[key] - whole[key]).abs().max() > 1e-4 for key in whole)
    assert halves_record["losses"] == pytest.approx(whole_record["losses"], rel=1e-4)


def test_last_group_of_an_epoch_may_be_smaller(tmp_path):
    changes = ONE_EPOCH | STILL | {"train.batch_size": 2, "train.gradient_accumulation_steps": 2, "train.ema": False}
    recorder = Recorder()
    _, history = train(tmp_path, source=SameImage(6), reporter=recorder, **changes)  # three batches: 2 + 1
    assert history[0]["step"] == 2
    assert [step[1] for step in recorder.steps] == [2, 3]


def test_group_of_one_batch_is_not_divided_by_the_full_group(tmp_path):
    # One batch with accumulate 4 must make the step of that batch alone.
    changes = ONE_EPOCH | STILL | {"train.optimizer": "sgd", "train.norm_eval": True, "train.lr": 0.05, "train.ema": False}
    alone = weights_of(train(tmp_path / "a", source=Squares(4), **changes)[0].model)
    changes |= {"train.gradient_accumulation_steps": 4}
    grouped = weights_of(train(tmp_path / "b", source=Squares(4), **changes)[0].model)
    for key in alone:
        assert_close(grouped[key], alone[key], rtol=1e-5, atol=1e-7)


def test_gradient_clip_bounds_the_step(tmp_path):
    changes = ONE_EPOCH | {"train.optimizer": "sgd", "train.momentum": 0.0, "train.weight_decay": 0.0, "train.ema": False}
    changes |= {"train.lr": 0.5, "train.schedule": "constant", "train.warmup_steps": 0, "train.batch_size": 8}

    def moved(folder, **extra):
        task = make_task(**changes, **extra)
        before = [parameter.detach().clone() for parameter in task.model.parameters()]
        train(tmp_path / folder, task)
        pairs = zip(task.model.parameters(), before, strict=True)
        return math.sqrt(sum(float((one - other).square().sum()) for one, other in pairs))

    # One step of plain SGD: rate times gradient norm.
    assert moved("clipped", **{"train.grad_clip": 0.01}) == pytest.approx(0.5 * 0.01, rel=1e-3)
    assert moved("free") > 0.02


def test_frozen_norm_keeps_its_statistics_and_learns_its_weights(tmp_path):
    for folder, frozen in (("frozen", True), ("free", False)):
        task = make_task(**ONE_EPOCH, **{"train.norm_eval": frozen, "train.ema": False})
        before = norm_statistics(task.model)
        norms = [one for one in task.model.modules() if isinstance(one, torch.nn.BatchNorm2d)]
        weights = [one.weight.detach().clone() for one in norms]
        train(tmp_path / folder, task)
        same = all(torch.equal(one, other) for one, other in zip(before, norm_statistics(task.model), strict=True))
        assert same == frozen
        assert not all(torch.equal(one, norm.weight) for one, norm in zip(weights, norms, strict=True))


def test_norm_is_frozen_by_the_argument_only_where_the_config_leaves_it_open(tmp_path):
    for setting, expected in ((None, True), (False, False)):
        task = make_task(**ONE_EPOCH, **{"train.norm_eval": setting, "train.ema": False})
        before = norm_statistics(task.model)
        fit(task, Squares(4), Squares(2), tmp_path / str(setting), reporter=Recorder(), norm_eval=True)
        after = norm_statistics(task.model)
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True)) == expected


@pytest.mark.slow
def test_memory_layout_changes_no_result(tmp_path):
    found = {}
    for layout in (True, False):
        task, history = train(tmp_path / str(layout), **ONE_EPOCH, **{"train.channels_last": layout})
        stem = task.model.backbone.stem[2].conv.weight
        assert stem.is_contiguous(memory_format=torch.channels_last) == layout
        found[layout] = (weights_of(task.model), history[0]["losses"])
    assert found[True][1] == pytest.approx(found[False][1], rel=1e-3)
    for key in found[True][0]:
        assert_close(found[True][0][key], found[False][0][key], rtol=1e-2, atol=5e-3)  # Adam's first steps amplify signs


def test_bf16_computes_differently_and_keeps_float_weights(tmp_path):
    changes = ONE_EPOCH | {"model.exp_on_reg": True}
    _, whole_history = train(tmp_path / "whole", **changes)
    half, half_history = train(tmp_path / "half", **changes, **{"train.amp": "bf16"})
    assert half_history[0]["losses"] != whole_history[0]["losses"]
    assert half_history[0]["losses"] == pytest.approx(whole_history[0]["losses"], rel=0.1)
    assert all(value.dtype == torch.float32 for value in half.model.state_dict().values() if value.is_floating_point())
    assert all(bool(value.isfinite().all()) for value in half.model.state_dict().values())


def test_learning_rates_are_those_of_the_schedule(tmp_path):
    from rtmdet_lab.engine.schedule import lr_factor

    recorder = Recorder()
    task, history = train(tmp_path, source=Squares(8), reporter=recorder, **{"train.epochs": 4, "train.weak_epochs": 2})
    config = task.config.train
    rates = [step[3] for step in recorder.steps]
    assert rates == pytest.approx([0.001 * lr_factor(step, 8, config) for step in range(8)])
    assert [record["lr"] for record in history] == pytest.approx(rates[1::2])


# Losses that are not finite ----------------------------------------------------------------------------------------------


def break_loss(task, image_id: int, value: float = math.nan):
    """Makes the box loss ``value`` for every batch that holds an image."""
    criterion = task.criterion

    def broken(predictions, targets):
        losses = criterion(predictions, targets)
        if any(target.meta.image_id == image_id for target in targets):
            losses["loss_bbox"] = losses["loss_bbox"] * value
        return losses

    task.criterion = broken
    return task


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_loss_that_is_not_finite_names_terms_batch_and_images_and_spares_the_weights(tmp_path, value, accumulate):
    task = break_loss(make_task(**ONE_EPOCH, **{"train.gradient_accumulation_steps": accumulate}), 5, value)
    with pytest.raises(NonFiniteLossError) as error:
        train(tmp_path, task, source=Squares(16))
    message = assert_one_sentence(error.value, "epoch 1", f"loss_bbox {value}", "loss_cls 0.", "train.lr")
    assert "state" not in message  # no epoch is finished yet
    ids = message.partition("images ")[2].partition(")")[0].split(", ")
    assert "5" in ids
    assert len(ids) == 4
    assert all(bool(parameter.isfinite().all()) for parameter in task.model.parameters())


def test_state_of_the_last_finished_epoch_survives_a_loss_that_is_not_finite(tmp_path):
    task = make_task(**{"train.epochs": 3, "train.weak_epochs": 0})
    with pytest.raises(NonFiniteLossError, match=r"epoch 2.*last finished epoch is in"):
        fit(
            task,
            Squares(8),
            Squares(2),
            tmp_path,
            reporter=Recorder(),
            hooks=[EveryEpoch(lambda history: break_loss(task, 3) if len(history) == 1 else None)],
        )
    state = torch.load(tmp_path / STATE_NAME, weights_only=True)
    assert state["epoch"] == 1
    assert all(bool(value.isfinite().all()) for value in state["model"].values())
    _, history = train(tmp_path, resume=True, **{"train.epochs": 3, "train.weak_epochs": 0})
    assert len(history) == 3


# Bad images --------------------------------------------------------------------------------------------------------------


class Damaged(Squares):
    def load(self, index):
        if index == 3:
            raise DataError("image 3.jpg is truncated or damaged")
        return super().load(index)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_bad_training_image_stops_the_run_with_its_name(tmp_path, workers):
    with pytest.raises(DataError) as error:
        train(tmp_path, source=Damaged(8), **ONE_EPOCH, **{"train.workers": workers})
    assert_one_sentence(error.value, "3.jpg", "on_bad=skip")
    del error  # its frames hold the loader, whose workers end slowly once the interpreter itself is ending
    gc.collect()


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_skipped_training_image_reaches_the_reporter(tmp_path, workers):
    recorder = Recorder()
    train(tmp_path, source=Damaged(8), reporter=recorder, **ONE_EPOCH, **{"data.on_bad": "skip", "train.workers": workers})
    assert "skipped: image 3.jpg is truncated or damaged" in recorder.notes


def test_bad_validation_image_stops_the_run_with_its_name_and_keeps_the_epoch(tmp_path):
    with pytest.raises(DataError, match=r"3\.jpg"):
        train(tmp_path, val=Damaged(8), **ONE_EPOCH)
    state = torch.load(tmp_path / STATE_NAME, weights_only=True)
    assert state["batch"] == 2  # trained to the end of the epoch: only the validation is repeated


def test_batch_without_any_usable_image_does_not_break_the_count(tmp_path, monkeypatch):
    # Validation batches may come out empty; a training batch never does, whatever is skipped.
    recorder = Recorder()
    _, history = train(
        tmp_path,
        source=Damaged(4),
        val=Damaged(4),
        reporter=recorder,
        **ONE_EPOCH | {"data.on_bad": "skip", "test.batch_size": 1},
    )
    assert history[0]["step"] == 1
    assert isinstance(Batch(torch.empty(0), []).notes, list)


# The disk ----------------------------------------------------------------------------------------------------------------


def fingerprint(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (STATE_NAME, "last.safetensors", "best.safetensors")}


def test_full_disk_leaves_the_earlier_files_whole(tmp_path, monkeypatch):
    earlier = {}

    def fill_disk(history):
        if len(history) == 1:
            earlier.update(fingerprint(tmp_path))

            def no_space(_):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            monkeypatch.setattr(os, "fsync", no_space)

    changes = {"train.epochs": 3, "train.weak_epochs": 0}
    with pytest.raises(StorageError) as error:
        fit(make_task(**changes), Squares(8), Squares(2), tmp_path, reporter=Recorder(), hooks=[EveryEpoch(fill_disk)])
    assert_one_sentence(error.value, str(tmp_path), "No space left on device", "MiB", "intact")
    monkeypatch.undo()
    assert fingerprint(tmp_path) == earlier
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]  # no half-written file is left
    _, history = train(tmp_path, resume=True, **changes)
    assert len(history) == 3


def test_folder_that_cannot_be_written_is_refused_before_the_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    recorder = Recorder()
    with pytest.raises(StorageError) as error:
        train(tmp_path / "file" / "run", reporter=recorder, **ONE_EPOCH)
    assert_one_sentence(error.value, str(tmp_path / "file" / "run"))
    assert recorder.steps == []  # not after an epoch that is then lost


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_refused_before_the_training(tmp_path):
    (tmp_path / "run").mkdir(mode=0o500)
    recorder = Recorder()
    with pytest.raises(StorageError) as error:
        train(tmp_path / "run", reporter=recorder, **ONE_EPOCH)
    assert_one_sentence(error.value, str(tmp_path / "run"), "Permission denied")
    assert recorder.steps == []


# Signals -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signum", "exit_code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_signal_saves_the_state_and_names_it(tmp_path, signum, exit_code):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    recorder = Recorder(stop=(0, 2), signals=(signum,))
    with pytest.raises(TrainingInterrupted) as stopped:
        train(tmp_path, source=Squares(16), reporter=recorder)
    assert stopped.value.exit_code == exit_code
    assert_one_sentence(stopped.value, "epoch 1, batch 2 of 4", str(tmp_path), "--resume")
    state = torch.load(tmp_path / STATE_NAME, weights_only=True)
    assert (state["epoch"], state["batch"]) == (0, 2)
    assert state["sums"]["seconds"] > state["sums"]["load_seconds"]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert recorder.closed == 1


def test_second_ctrl_c_stops_at_once_without_waiting_for_the_batch(tmp_path):
    recorder = Recorder(stop=(0, 2), signals=(signal.SIGINT, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(tmp_path, source=Squares(16), reporter=recorder)
    assert not isinstance(stopped.value, TrainingInterrupted)
    assert len(recorder.steps) == 2
    assert not (tmp_path / STATE_NAME).exists()


def test_ctrl_c_after_a_sigterm_is_still_the_first_ctrl_c(tmp_path):
    recorder = Recorder(stop=(0, 2), signals=(signal.SIGTERM, signal.SIGINT))
    with pytest.raises(TrainingInterrupted):
        train(tmp_path, source=Squares(16), reporter=recorder)


def test_training_outside_the_main_thread_runs_without_signals(tmp_path):
    results = []

    def work():
        results.append(train(tmp_path, **ONE_EPOCH)[1])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(results) == 1


def test_pipe_in_the_place_of_the_log_is_refused_before_the_first_epoch(tmp_path):
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(DataError) as error:
        train(tmp_path, source=Squares(8), **ONE_EPOCH)
    assert_one_sentence(error.value, "metrics.jsonl", "pipe")


def test_batch_that_repeats_images_is_told(tmp_path):
    reporter = Recorder()
    train(tmp_path, source=Squares(3), reporter=reporter, **ONE_EPOCH, **{"train.batch_size": 4})
    assert any("a batch of 4 is more than the 3 images of an epoch" in note for note in reporter.notes)
