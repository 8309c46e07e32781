"""Too little memory is one sentence with what to lower."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from made_runs import make_task, train
from made_sets import assert_one_sentence

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.engine import evaluate
from rtmdet_lab.engine.memory import OutOfMemory, explain_memory, require_memory_for_classes

GPU_WORDS = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB\nSee documentation"
CPU_WORDS = (
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
)


def failing(task, error: Exception, most: int):
    """Returns the task with losses for which the memory suffices for ``most`` images only."""

    def criterion(predictions, targets):
        if len(targets) > most:
            raise error
        return task.criterion(predictions, targets)

    return dataclasses.replace(task, criterion=criterion)


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (torch.OutOfMemoryError(GPU_WORDS), "GPU"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "GPU"),
        (RuntimeError(CPU_WORDS), "machine"),
        (MemoryError(), "machine"),
        (RuntimeError("Caught _ArrayMemoryError in DataLoader worker process 0.\nOriginal Traceback ..."), "machine"),
    ],
)
def test_every_kind_of_it_becomes_a_sentence(error, where):
    with pytest.raises(OutOfMemory) as told, explain_memory("this"):
        raise error
    assert_one_sentence(told.value, f"the memory of the {where} is not enough for this")


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), DataError("bad"), KeyError("x")]
)
def test_any_other_error_passes(error):
    with pytest.raises(type(error)) as told, explain_memory("this"):
        raise error
    assert told.value is error


def test_training_says_which_batch_and_what_to_lower(tmp_path):
    task = failing(make_task(), torch.OutOfMemoryError(GPU_WORDS), most=3)
    with pytest.raises(OutOfMemory) as error:
        train(tmp_path, task)
    settings = ("train.batch_size", "train.gradient_accumulation_steps")
    assert_one_sentence(error.value, "4 images of 64 x 64", *settings, "--auto-batch", "bf16")


@pytest.mark.parametrize("workers", [0, 1])
def test_images_for_which_the_machine_is_too_small_are_told_too(tmp_path, workers):
    with pytest.raises(OutOfMemory) as error:  # terabytes, which no system promises
        train(tmp_path, **{"augment.input_size": 640_000, "train.workers": workers})
    assert_one_sentence(error.value, "machine", "640000 x 640000", "augment.input_size")


def test_validation_says_what_to_lower(tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError(GPU_WORDS)

    monkeypatch.setattr(evaluate, "_detected", full)
    with pytest.raises(OutOfMemory) as error:
        train(tmp_path, **{"train.epochs": 1, "train.weak_epochs": 1})
    assert_one_sentence(error.value, "validating", "test.batch_size")
    assert "train.batch_size" not in str(error.value)
    assert (tmp_path / "last.state").exists()  # the epoch was trained


def test_scores_of_more_classes_than_the_memory_holds_are_refused_before_they_are_computed():
    with pytest.raises(OutOfMemory) as caught:
        require_memory_for_classes(100_000, 256, 640, torch.device("cpu"))
    assert_one_sentence(caught.value, "100,000 classes", "256 images of 640 x 640", "--classes")
    require_memory_for_classes(80, 8, 640, torch.device("cpu"))
