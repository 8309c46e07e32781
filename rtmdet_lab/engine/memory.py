"""Where the memory of a GPU, or of the machine, is not enough: one sentence with what to lower."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch

from rtmdet_lab.config.presets import STRIDES
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import UserError

_SCORES_KEPT = 3  # logits, targets and gradient; what else there is comes on top


class OutOfMemory(UserError, MemoryError):
    """The memory is not enough for the batch."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had, on any device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # PyTorch's allocator of the CPU, cuDNN, and a loader process say it in words only.
    words = ("can't allocate memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED", "MemoryError in DataLoader")
    if isinstance(error, cv2.error):
        return error.code == cv2.Error.StsNoMem
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in words)


@contextmanager
def explain_memory(advice: str) -> Iterator[None]:
    """Context in which running out of memory becomes an :class:`OutOfMemory` that ends with ``advice``."""
    try:
        yield
    except UserError:
        raise
    except (RuntimeError, MemoryError, cv2.error) as error:
        if not is_out_of_memory(error):
            raise
        where = "GPU" if isinstance(error, torch.OutOfMemoryError) or "CU" in str(error) else "machine"
        raise OutOfMemory(f"the memory of the {where} is not enough for {advice}") from error


def require_memory_for_classes(classes: int, images: int, side: int, device: torch.device) -> None:
    """Refuses a batch whose scores alone do not fit into all the memory there is: the system would end the process unsaid.

    Args:
        images: of a batch.
        side: of its images, pixels.

    Raises:
        OutOfMemory: names the numbers of classes and images.
    """
    points = sum((side // stride) ** 2 for stride in STRIDES)
    needed = _SCORES_KEPT * 4 * images * points * classes
    if device.type == "cuda":
        there = torch.cuda.mem_get_info(device)[1]
    else:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        where = "GPU" if device.type == "cuda" else "machine"
        raise OutOfMemory(
            f"the memory of the {where} is not enough for the scores of {classes:,} classes: those of {images} images of "
            f"{side} x {side} take {needed / 2**30:,.0f} GiB of {there / 2**30:,.0f}; lower train.batch_size or "
            "augment.input_size, or name the classes that are wanted (--classes)"
        )


def training_advice(config: ExperimentConfig) -> str:
    train, side = config.train, config.augment.input_size
    cheaper = ", set train.amp=bf16" if train.amp == "off" else ""
    return (
        f"batches of {train.batch_size} images of {side} x {side}: lower train.batch_size and raise "
        f"train.gradient_accumulation_steps by the same factor (--auto-batch does it){cheaper}, or lower augment.input_size"
    )


def validation_advice(config: ExperimentConfig) -> str:
    return f"validating batches of {config.test.batch_size} images: lower test.batch_size"
