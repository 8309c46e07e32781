"""Instance segmentation: what it adds to detection, from top to bottom (paper.md 3.6, 4.4).

Beyond class and box, every point brings the weights of a small network that draws its object's mask from prototypes common
to the image. An object's center is its mask's center of mass. Everything else is detection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torchvision.transforms import v2

from rtmdet_lab.assigners.base import BoxGeometry
from rtmdet_lab.assigners.factory import build_assigner
from rtmdet_lab.config.resolved import ResolvedConfig, ResolvedTest
from rtmdet_lab.config.settings import ModelConfig
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.distributed import mean_over_processes
from rtmdet_lab.core.structures import Assignment, DensePredictions, Detections, ImageMeta, Targets
from rtmdet_lab.data.loaders import Source
from rtmdet_lab.evaluation.coco import CocoEvaluator
from rtmdet_lab.geometry.box_kind import UPRIGHT
from rtmdet_lab.geometry.boxes import box_centers
from rtmdet_lab.geometry.masks import mask_centers
from rtmdet_lab.layers.dynamic_masks import FEATURE_STRIDE, mask_logits
from rtmdet_lab.losses.dice import dice_loss
from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.models.instance_head import RTMDetInsHead
from rtmdet_lab.tasks import detection
from rtmdet_lab.tasks.base import Task
from rtmdet_lab.tasks.common import select_candidates, to_original
from rtmdet_lab.tasks.detection import detection_losses
from rtmdet_lab.tasks.phases import Phase, mild_settings, mixing_phases
from rtmdet_lab.tasks.spec import PLAIN
from rtmdet_lab.transforms.masks import FillPolygons

MASK_STRIDE = 4  # pixels between the points where predicted and true masks are compared
CHUNK = 32  # masks drawn at a time: what bounds the memory of a crowded image


def instance_task(config: ResolvedConfig) -> Task:
    """Returns the instance segmentation task of a config."""
    assigner = build_assigner(config.assigner, BoxGeometry(centers=object_centers))

    def criterion(predictions: DensePredictions, targets: Sequence[Targets]) -> dict[str, Tensor]:
        assignment = assigner(predictions, targets)
        losses = detection_losses(predictions, targets, assignment, config.loss)
        mask = mask_loss(predictions, targets, assignment, config.loss.mask_positives)
        return losses | {"loss_mask": config.loss.mask_weight * mask}

    def decode(predictions: DensePredictions, metas: Sequence[ImageMeta]) -> list[Detections]:
        return decode_instances(predictions, metas, config.test)

    return Task(
        name="instance",
        config=config,
        model=instance_network(config.model),
        assigner=assigner,
        criterion=criterion,
        decode=decode,
        new_evaluator=lambda: CocoEvaluator(config.data.classes, kind="segm"),
    )


def object_centers(targets: Targets) -> Tensor:
    """Returns each object's center of mass (G, 2), pixels; of an object without mask pixels, its box's center."""
    centers = mask_centers(targets.masks) if targets.centers is None else targets.centers
    return centers.where(centers.isfinite(), box_centers(targets.boxes))


def mask_loss(
    predictions: DensePredictions, targets: Sequence[Targets], assignment: Assignment, cap: int | None = None
) -> Tensor:
    """Returns the mean Dice loss over the batch's positive points, a scalar (paper.md 4.4).

    Masks are drawn ``CHUNK`` at a time and drawn again in the backward pass, so that memory does not grow with the number
    of positives.

    Args:
        cap: points to learn from, chosen at random where there are more; None takes all.
    """
    image, point = assignment.positive.nonzero(as_tuple=True)
    if cap is not None and len(point) > cap:
        chosen = torch.randperm(len(point))[:cap].to(point.device).sort().values
        image, point = image[chosen], point[chosen]
    count = mean_over_processes(image.new_tensor(len(point), dtype=torch.float32)).clamp(min=1)
    features = predictions.mask_features
    total = 0 * (features.sum() + predictions.kernels.sum())  # so that a batch without objects has a gradient, of zero
    for number in image.unique().tolist():
        points = point[image == number]
        true = sampled_masks(targets[number], features.shape[-2:])
        for chunk in points.split(CHUNK):
            masks = true[assignment.gt_index[number, chunk].to(true.device)]
            total = total + checkpoint(
                _chunk_loss,
                features[number],
                predictions.kernels[number, chunk],
                predictions.priors.points[chunk],
                predictions.priors.strides[chunk],
                masks,
                use_reentrant=False,
            )
    return total / count


def _chunk_loss(features: Tensor, kernels: Tensor, points: Tensor, strides: Tensor, masks: Tensor) -> Tensor:
    logits = mask_logits(features, kernels, points, strides)[:, None]
    finer = F.interpolate(logits, scale_factor=FEATURE_STRIDE / MASK_STRIDE, mode="bilinear", align_corners=False)
    return dice_loss(finer[:, 0], masks).sum()


def sampled_masks(targets: Targets, feature_size: Sequence[int]) -> Tensor:
    """Returns the masks (G, h, w) at every 4th pixel, from row and column 2, for features of ``feature_size``."""
    wanted = tuple(side * FEATURE_STRIDE // MASK_STRIDE for side in feature_size)
    masks = targets.masks
    if tuple(masks.shape[1:]) == wanted:
        return masks
    return masks[:, MASK_STRIDE // 2 :: MASK_STRIDE, MASK_STRIDE // 2 :: MASK_STRIDE]


def decode_instances(predictions: DensePredictions, metas: Sequence[ImageMeta], config: ResolvedTest) -> list[Detections]:
    """Returns each image's detections with masks (N, H, W) bool in original pixels (paper.md 3.6, test)."""
    level_sizes = predictions.level_sizes()
    found = []
    for number, meta in enumerate(metas):
        points, labels, scores = select_candidates(predictions.logits[number], level_sizes, config)
        boxes = to_original(predictions.boxes[number][points], meta)
        solid = UPRIGHT.has_area(boxes)
        points, boxes, scores, labels = points[solid], boxes[solid], scores[solid], labels[solid]
        keep = UPRIGHT.suppress(boxes, scores, labels, config.nms_iou)[: config.max_per_image]
        kept = points[keep]
        masks = draw_masks(
            predictions.mask_features[number],
            predictions.kernels[number][kept],
            predictions.priors.points[kept],
            predictions.priors.strides[kept],
            meta,
        )
        found.append(Detections(boxes[keep], scores[keep], labels[keep], masks=masks, meta=meta))
    return found


def draw_masks(features: Tensor, kernels: Tensor, points: Tensor, strides: Tensor, meta: ImageMeta) -> Tensor:
    """Returns masks (N, H, W) bool in original pixels: logits to the canvas, cut to the image, resized, above 0.

    ``meta`` without an ``original_size`` gives masks of the canvas.
    """
    if not len(kernels):
        size = meta.original_size or meta.canvas_size or (0, 0)
        return torch.zeros(0, *size, dtype=torch.bool, device=features.device)
    sizes = meta.original_size or (None, None)
    down = _resizing(features.shape[-2], meta.offset[1], meta.scale[1], sizes[0]).to(features.device)
    across = _resizing(features.shape[-1], meta.offset[0], meta.scale[0], sizes[1]).to(features.device)
    chunks = []
    for start in range(0, len(kernels), CHUNK):
        part = slice(start, start + CHUNK)
        logits = mask_logits(features, kernels[part], points[part], strides[part])
        chunks.append((down.T @ logits) @ across > 0)  # a logit of 0 is a probability of one half
    return torch.cat(chunks)


def _resizing(cells: int, offset: float, scale: float, original: int | None) -> Tensor:
    """Returns the matrix (cells, pixels) that takes mask cells along one axis to the canvas, cuts, and resizes.

    Bilinear resizing is linear, and separate in each axis: both resizings are one product, of the pixels that are kept.
    """
    canvas = F.interpolate(torch.eye(cells)[None], scale_factor=FEATURE_STRIDE, mode="linear", align_corners=False)
    if original is None:
        return canvas[0]
    start = round(offset)
    used = canvas[..., start : start + round(original * scale)]
    return used[0] if used.shape[-1] == original else F.interpolate(used, original, mode="linear", align_corners=False)[0]


def instance_network(config: ModelConfig) -> RTMDet:
    """Returns the untrained network."""
    return RTMDet(config, "instance", RTMDetInsHead)


def instance_phases(config: ResolvedConfig, source: Source) -> list[Phase]:
    """Returns the stages of detection; objects come as polygons, and what is learned are pixels."""
    phases = mixing_phases(config, source)
    return [phase._replace(pipeline=v2.Compose([*phase.pipeline.transforms, FillPolygons()])) for phase in phases]


SPEC = dataclasses.replace(
    detection.SPEC,
    facts=TASKS["instance"],
    network=instance_network,
    build=instance_task,
    masks=True,
    phases=instance_phases,
    short_settings=mild_settings,
    decode=decode_instances,
    raw_outputs=("logits", "boxes", "kernels", "mask_features"),
    found_outputs=("dets", "labels", "masks"),
    matches=partial(detection.coco_matches, "segm"),
    mirrors=(PLAIN,),  # masks of several views are not joined
)
