"""One image looked at several times, as windows, in other sizes or mirrored, and one result from all looks.

Windows are those of :func:`~rtmdet_lab.data.tile_split.split_dota`: a large image gives here what its patches on disk
would give. With windows, ``test.tta_scales`` are the split's ``scales`` (paper.md 3.7): at 0.5 windows of twice the size are
shrunk. Without, the image is fitted into squares of these shares of the input size, and all are padded to the largest
(paper.md 3.2, "TTA").

Only the decoded image grows with the image: windows are cut batch by batch, and each keeps its ``test.max_per_image`` best.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from rtmdet_lab.config.resolved import ResolvedTest
from rtmdet_lab.config.settings import TaskName
from rtmdet_lab.core.structures import DensePredictions, Detections, ImageMeta
from rtmdet_lab.data.tiles import Window, cut_window, lay_windows, merge_parts, window_size
from rtmdet_lab.geometry.box_kind import kind_of
from rtmdet_lab.tasks.factory import spec_of
from rtmdet_lab.tasks.spec import PLAIN, Mirror
from rtmdet_lab.transforms.base import to_array, to_image
from rtmdet_lab.transforms.geometric import Pad, Resize

Forward = Callable[[Tensor], DensePredictions]  # from (B, 3, H, W) uint8 RGB
Decode = Callable[[DensePredictions, Sequence[ImageMeta]], list[Detections]]
Progress = Callable[[int, int], None]


class View(NamedTuple):
    """One look at an image."""

    window: Window | None = None  # the part that is looked at; None: the image
    side: int = 640  # of the square it is fitted into, pixels
    mirror: Mirror = PLAIN


def has_views(config: ResolvedTest) -> bool:
    """Whether an image is looked at otherwise than once, as a whole and in its plain size."""
    return config.tile is not None or config.tta_scales is not None


def lay_views(size: tuple[int, int], task: TaskName, config: ResolvedTest) -> list[View]:
    """Returns all looks at an image of ``size`` (height, width)."""
    mirrors = spec_of(task).mirrors if config.tta_flip else (PLAIN,)
    views = []
    for scale in config.tta_scales or (1.0,):
        if config.tile is None:
            windows, side = [None], int(config.input_size * scale + 0.5)
        else:
            windows = lay_windows("", size, window_size(config.tile, scale), window_size(config.overlap, scale))
            side = config.input_size
        views += [View(window, side, mirror) for window in windows for mirror in mirrors]
    return views


def canvas_size(config: ResolvedTest) -> int:
    """Returns the side of the square network input on which every view fits, a multiple of 32."""
    largest = 1.0 if config.tile is not None else max(config.tta_scales or (1.0,))
    return -(-int(config.input_size * largest + 0.5) // 32) * 32


def to_canvas(
    pixels: np.ndarray, meta: ImageMeta, view: View, canvas: int, fit: v2.Transform | None = None
) -> tuple[np.ndarray, ImageMeta]:
    """Returns the network's input (canvas, canvas, 3) uint8 RGB, and how the pixels of the view's part got there.

    Args:
        pixels: the whole image, (H, W, 3) uint8 RGB.
        fit: puts a whole image onto the canvas; None: it is fitted into the view's side and padded.
    """
    part = pixels if view.window is None else cut_window(pixels, view.window)
    meta = dataclasses.replace(meta, original_size=part.shape[:2])
    sample = to_image(part), {"boxes": torch.zeros(0, 5), "meta": meta}
    if fit is not None:
        image, target = fit(*sample)
        return to_array(image), target["meta"]
    image, target = Resize(view.side)(*sample)
    if any(view.mirror):
        code = -1 if all(view.mirror) else int(view.mirror[0])
        image = to_image(cv2.flip(to_array(image), code))
    image, target = Pad(canvas)(image, target)
    return to_array(image), target["meta"]


def from_canvas(found: Detections, view: View) -> Detections:
    """Returns a view's detections in the pixels of the image; ``found.meta`` is that of :func:`to_canvas`."""
    boxes, kind = found.boxes, kind_of(found.boxes)
    if any(view.mirror):
        boxes = kind.mirrored(boxes, found.meta.original_size, *view.mirror)
    if view.window is not None:
        boxes = kind.shifted(boxes, (float(view.window.x), float(view.window.y)))
    return dataclasses.replace(found, boxes=boxes)


@dataclass(eq=False)
class _Looked:
    """An image of which some views are not done yet."""

    meta: ImageMeta
    views: int
    parts: list[Detections] = field(default_factory=list)


def detect(
    forward: Forward,
    decode: Decode,
    samples: Iterable[tuple[Tensor, ImageMeta]],
    task: TaskName,
    config: ResolvedTest,
    progress: Progress | None = None,
) -> Iterator[Detections]:
    """Yields each image's detections, on the CPU, in the order of ``samples``.

    Args:
        forward: the network, from a batch of bytes.
        decode: the task's, which brings boxes back to the pixels of the view's part.
        samples: images (3, H, W) uint8 RGB of any size, and their metas; asked for one by one.
        config: resolved, with an input size.
        progress: called after each batch with the number of views done and of all views of the image it ended in.
    """
    waiting: deque[_Looked] = deque()
    for entries, batch in _batches(samples, waiting, task, config):
        found = decode(forward(batch), [meta for _, _, meta in entries])
        for (image, view, _), one in zip(entries, found, strict=True):
            image.parts.append(from_canvas(one.to("cpu"), view))
        if progress is not None:
            progress(len(image.parts), image.views)
        while waiting and len(waiting[0].parts) == waiting[0].views:
            yield _one_result(waiting.popleft(), task, config)


def _batches(
    samples: Iterable[tuple[Tensor, ImageMeta]], waiting: deque[_Looked], task: TaskName, config: ResolvedTest
) -> Iterator[tuple[list[tuple[_Looked, View, ImageMeta]], Tensor]]:
    """Yields what is looked at and the pixels of it, (B, 3, H, W) uint8 RGB; a batch may hold several images' views."""
    canvas = canvas_size(config)
    fit = None if has_views(config) else spec_of(task).test_pipeline(canvas)
    entries, rows = [], []
    for image, meta in samples:
        pixels = to_array(image)
        views = lay_views(pixels.shape[:2], task, config)
        waiting.append(looked := _Looked(meta, len(views)))
        for view in views:
            row, shown = to_canvas(pixels, meta, view, canvas, fit)
            entries.append((looked, view, shown))
            rows.append(row)
            if len(rows) == config.batch_size:
                yield entries, _stacked(rows)
                entries, rows = [], []
        del image, pixels  # a large image goes before the next one is decoded
    if rows:
        yield entries, _stacked(rows)


def _stacked(rows: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2)


def _one_result(image: _Looked, task: TaskName, config: ResolvedTest) -> Detections:
    if config.tile is None and image.views == 1:
        return image.parts[0]
    augmented = len(config.tta_scales or (1.0,)) > 1 or config.tta_flip
    found = merge_parts(image.parts, image.meta, config.tta_nms_iou if augmented else config.nms_iou)
    return found if config.tile is not None else found[: config.tta_max_per_image]
