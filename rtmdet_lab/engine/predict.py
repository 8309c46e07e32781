"""``predict``: from images to detections in their own pixels, and ``prepare_inference``: the same model, faster."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import tv_tensors

from rtmdet_lab.config.presets import resolve_test
from rtmdet_lab.config.settings import INFERENCE, TestConfig
from rtmdet_lab.core.errors import DataError, SettingError
from rtmdet_lab.core.half_precision import warn_if_slower
from rtmdet_lab.core.structures import DensePredictions, Detections, ImageMeta
from rtmdet_lab.data.folders import visible_files
from rtmdet_lab.data.images import IMAGE_SUFFIXES, from_pillow, local_path, read_image
from rtmdet_lab.layers.fuse import fuse
from rtmdet_lab.models.network import Network
from rtmdet_lab.tasks.base import Task
from rtmdet_lab.tasks.factory import decode_for
from rtmdet_lab.tasks.test_time import Progress, detect
from rtmdet_lab.transforms.base import to_image
from rtmdet_lab.transforms.normalize import normalize

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def prepare_inference(
    model: Network, device: torch.device | str = "cpu", *, precision: Precision = "fp32", compiled: bool = False
) -> Network:
    """Returns a copy of ``model`` in eval mode that finds the same objects in less time; it cannot be trained or saved.

    Batch norm is folded into convolutions, re-parameterized branches are merged, weights lie channels-last. In float32
    scores differ in the last digits only; docs/results/performance.md says what the other precisions cost.

    Args:
        precision: of weights and arithmetic. Scores, boxes and masks are computed from the network's output in float32.
        compiled: translate the network first, which takes a minute and pays off over many images of one size. On a GPU
            its kernels are recorded and replayed as one graph.

    Raises:
        SettingError: another precision.
    """
    if precision not in DTYPES:
        raise SettingError(f"precision is {precision!r}, but must be one of {', '.join(DTYPES)}")
    device = torch.device(device)
    warn_if_slower(device, precision)
    faster = fuse(model).to(device, DTYPES[precision])
    return torch.compile(faster, mode="reduce-overhead" if device.type == "cuda" else None) if compiled else faster


@torch.no_grad()  # not inference_mode: its tensors refuse to be changed or learned from afterwards
def predict(
    model: Network | Task,
    images: Any,
    settings: TestConfig | None = None,
    *,
    progress: Progress | None = None,
    **given: Any,
) -> list[Detections]:
    """Returns the detections of every image, best first, boxes in that image's pixels.

    The defaults are the settings behind the published AP of the model's task, where very low scores count, too; for looking
    at results pass ``score_threshold=0.3``. The model runs where its weights are, in their precision, and keeps its training
    mode; that of :func:`prepare_inference` is faster.

    Args:
        model: a detector, or a task, whose settings of post-processing then hold where none are given here.
        images: one image or several: a path, a folder of images, a Pillow image, an (H, W, 3) uint8 RGB or (H, W) uint8 grey
            array, or a (3, H, W) uint8 RGB tensor.
        settings: of inference, instead of the task's or the published ones.
        progress: called with the views (tiles, sizes, mirrored) done and in all of the current image, batch by batch.
        given: settings by name, in place of those: the fields of :class:`~rtmdet_lab.config.settings.TestConfig`, among
            them ``input_size``, the side of the square the image or tile is fitted into, a multiple of 32 (None: the tile,
            or what the weights were trained at (``model.input_size``), or 640); ``score_threshold``, ``nms_iou``,
            ``max_per_level``, ``max_per_image``; ``batch_size`` (8); ``tile`` and ``overlap``, for images larger than what
            the model was trained on, of any size, without shrinking them (DOTA: 1024 and 200); ``tta`` and what begins with
            ``tta_``, test-time augmentation.

    Raises:
        DataError: an image cannot be read or has another form.
        SettingError: an impossible setting, tiles and test-time augmentation for masks, or no model.
        NonFiniteOutputError: the network's output for an image is NaN or infinite.
    """
    network, own = (model.model, model.config.test) if isinstance(model, Task) else (model, TestConfig())
    if not isinstance(network, nn.Module) or not hasattr(network, "task"):
        what = f"the text {network!r}" if isinstance(network, (str, Path)) else f"a {type(network).__name__}"
        raise SettingError(
            f"predict takes a model or a task, not {what}: task_from_checkpoint opens weights and run folders"
        )
    if settings is None:
        settings = INFERENCE.changed(own.post_processing())
        if given.get("tile") is not None:  # what the model was trained at is for whole images
            settings = dataclasses.replace(settings, input_size=None)
    settings = settings.changed(given)
    if settings.input_size is None:
        side = settings.tile or getattr(network, "input_size", None) or 640
        settings = dataclasses.replace(settings, input_size=side)
    config = resolve_test(settings, network.task)
    decode = partial(decode_for(network.task), config=config)
    device = next(network.parameters()).device

    def forward(batch: Tensor) -> DensePredictions:
        return network(normalize(batch.to(device)))

    was_training = network.training
    network.eval()
    try:
        return list(detect(forward, decode, _samples(images), network.task, config, progress))
    finally:
        network.train(was_training)


def _samples(images: Any) -> Iterator[tuple[tv_tensors.Image, ImageMeta]]:
    """Yields (image, meta) one by one: a folder of many images is not held in memory."""
    is_single = isinstance(images, (str, Path, Image.Image)) or getattr(images, "ndim", 4) <= 3
    for number, source in enumerate(images if isinstance(images, Iterable) and not is_single else [images]):
        if isinstance(source, (str, Path)):
            for path in image_paths(local_path(source)):
                yield _sample(read_image(path), path.name, str(path))  # not kept here: the next one may be large, too
        else:
            yield _sample(_as_image(source), number, None)


def _sample(image: tv_tensors.Image, image_id: int | str, path: str | None) -> tuple[tv_tensors.Image, ImageMeta]:
    size = (image.shape[-2], image.shape[-1])
    return image, ImageMeta(image_id, size, canvas_size=size, path=path)


def image_paths(path: Path) -> list[Path]:
    """Returns the path itself, or the images of a folder in the order of their names.

    Raises:
        DataError: the folder holds no image.
    """
    try:
        if not path.is_dir():
            return [path]
    except OSError:  # a name that is too long: reading it says so
        return [path]
    paths = visible_files(path, IMAGE_SUFFIXES)
    if not paths:
        raise DataError(f"folder {path} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return paths


def _as_image(source: Any) -> tv_tensors.Image:
    if isinstance(source, Image.Image):
        return from_pillow(source)
    shape, dtype = getattr(source, "shape", None), getattr(source, "dtype", type(source).__name__)
    if shape is not None and 0 in shape:
        raise DataError(f"an image of shape {tuple(shape)} has no pixels: leave it out")
    if isinstance(source, Tensor) and source.dtype == torch.uint8:
        source = source[None] if source.ndim == 2 else source
        if source.ndim == 3 and source.shape[0] in (1, 3):
            return tv_tensors.Image(source.expand(3, -1, -1).cpu())
    if isinstance(source, np.ndarray) and source.dtype == np.uint8:
        source = source[..., None] if source.ndim == 2 else source
        if source.ndim == 3 and source.shape[2] in (1, 3):
            return to_image(np.ascontiguousarray(np.broadcast_to(source, (*source.shape[:2], 3))))
    raise DataError(
        f"an image of shape {tuple(shape) if shape is not None else '?'} and type {dtype} cannot be used: give a path, a "
        "Pillow image, an (H, W, 3) uint8 RGB array, an (H, W) uint8 grey array or a (3, H, W) uint8 RGB tensor"
    )
