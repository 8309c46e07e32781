"""``predict``: from images to detections in their own pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from rtmdet_lab.config import TestConfig
from rtmdet_lab.data.images import IMAGE_SUFFIXES, read_image
from rtmdet_lab.errors import DataError
from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.presets import resolve_test
from rtmdet_lab.structures import Detections, ImageMeta
from rtmdet_lab.tasks.factory import decode_for
from rtmdet_lab.transforms.base import as_boxes, to_image
from rtmdet_lab.transforms.normalize import normalize
from rtmdet_lab.transforms.pipelines import test_pipeline


@torch.no_grad()  # not inference_mode: its tensors refuse to be changed or learned from afterwards
def predict(
    model: RTMDet,
    images: Any,
    *,
    input_size: int = 640,
    score_threshold: float | None = None,
    nms_iou: float | None = None,
    max_per_level: int | None = None,
    max_per_image: int | None = None,
    batch_size: int = 8,
) -> list[Detections]:
    """Returns the detections of every image, best first, boxes in that image's pixels.

    The defaults are the settings behind the published AP of the model's task, where very low scores count, too; for looking
    at results pass ``score_threshold=0.3``. The model runs where its weights are and keeps its training mode.

    Args:
        images: one image or several: a path, a folder of images, an (H, W, 3) uint8 RGB array, or a (3, H, W) uint8 RGB
            tensor.
        input_size: side of the square the image is fitted into, a multiple of 32.

    Raises:
        DataError: an image cannot be read or has another form.
        SettingError: an impossible setting.
    """
    given = TestConfig(input_size, score_threshold, nms_iou, max_per_level, max_per_image, batch_size)
    config = resolve_test(given, model.task)
    device = next(model.parameters()).device
    pipeline, decode = test_pipeline(input_size), decode_for(model.task)
    was_training = model.training
    model.eval()
    results: list[Detections] = []
    try:
        for group in _groups(_samples(images), batch_size):
            pairs = [pipeline(image, {"boxes": no_boxes(image), "meta": meta}) for image, meta in group]
            batch = torch.stack([image.as_subclass(Tensor) for image, _ in pairs])
            predictions = model(normalize(batch.to(device)))
            results += decode(predictions, [target["meta"] for _, target in pairs], config)
    finally:
        model.train(was_training)
    return [result.to("cpu") for result in results]


def no_boxes(image: Tensor) -> tv_tensors.BoundingBoxes:
    return as_boxes(torch.zeros(0, 4), (image.shape[-2], image.shape[-1]))


def _groups(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    group: list[Any] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _samples(images: Any) -> Iterator[tuple[tv_tensors.Image, ImageMeta]]:
    """Yields (image, meta) one by one: a folder of many images is not held in memory."""
    one = isinstance(images, (str, Path, np.ndarray, Tensor)) and getattr(images, "ndim", 3) == 3
    for number, source in enumerate(images if isinstance(images, Iterable) and not one else [images]):
        if isinstance(source, (str, Path)):
            for path in image_paths(Path(source)):
                image = read_image(path)
                yield image, _meta(image, path.name, str(path))
        else:
            image = _as_image(source)
            yield image, _meta(image, number, None)


def image_paths(path: Path) -> list[Path]:
    """Returns the path itself, or the images of a folder in the order of their names.

    Raises:
        DataError: the folder holds no image.
    """
    if not path.is_dir():
        return [path]
    found = sorted(one for one in path.iterdir() if one.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DataError(f"folder {path} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return found


def _as_image(source: Any) -> tv_tensors.Image:
    if isinstance(source, Tensor) and source.ndim == 3 and source.shape[0] == 3 and source.dtype == torch.uint8:
        return tv_tensors.Image(source.cpu())
    if isinstance(source, np.ndarray) and source.ndim == 3 and source.shape[2] == 3 and source.dtype == np.uint8:
        return to_image(np.ascontiguousarray(source))
    shape, dtype = getattr(source, "shape", None), getattr(source, "dtype", type(source).__name__)
    raise DataError(
        f"an image of shape {tuple(shape) if shape is not None else '?'} and type {dtype} cannot be used: give a path, an "
        "(H, W, 3) uint8 RGB array or a (3, H, W) uint8 RGB tensor"
    )


def _meta(image: Tensor, image_id: int | str, path: str | None) -> ImageMeta:
    size = (image.shape[-2], image.shape[-1])
    return ImageMeta(image_id, size, canvas_size=size, path=path)
