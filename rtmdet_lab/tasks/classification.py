"""Image classification, from top to bottom: the ImageNet pretraining of CSPNeXt (paper.md 1.6, 3.8).

Every image has one label. It travels as an object whose box is the whole image, so that loaders, evaluation and prediction
are those of the detectors; a result is the best labels with their probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rtmdet_lab.config.resolved import ResolvedConfig, ResolvedTest
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.structures import Detections, ImageMeta, Targets
from rtmdet_lab.data.class_folders import CLASS_FOLDERS
from rtmdet_lab.data.loaders import Source
from rtmdet_lab.evaluation.top_k import TopKEvaluator
from rtmdet_lab.geometry.box_kind import UPRIGHT
from rtmdet_lab.models.classifier import ImageClassifier
from rtmdet_lab.synthetic.class_set import generate_labelled
from rtmdet_lab.tasks.base import Task
from rtmdet_lab.tasks.common import NonFiniteOutputError
from rtmdet_lab.tasks.phases import Phase
from rtmdet_lab.tasks.spec import TaskSpec
from rtmdet_lab.transforms.classification import center_pipeline, training_pipeline

SMOOTHING = 0.1  # of the labels, as published


def classification_task(config: ResolvedConfig) -> Task:
    """Returns the classification task of a config."""
    classes = config.data.classes or [f"class {label}" for label in range(config.model.num_classes)]

    def criterion(logits: Tensor, targets: Sequence[Targets]) -> dict[str, Tensor]:
        labels = torch.cat([target.labels for target in targets]).to(logits.device)
        return {"loss_cls": config.loss.cls_weight * smoothed_cross_entropy(logits, labels)}

    def decode(logits: Tensor, metas: Sequence[ImageMeta]) -> list[Detections]:
        return best_labels(logits, metas, config.test)

    return Task(
        name="classification",
        config=config,
        model=ImageClassifier(config.model),
        assigner=None,
        criterion=criterion,
        decode=decode,
        new_evaluator=lambda: TopKEvaluator(classes),
        main_metric="top1",
    )


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = SMOOTHING) -> Tensor:
    """Returns the mean cross entropy, a scalar: each label has 1 - smoothing, and all classes share the rest evenly.

    Args:
        logits: (B, C). labels: (B,) int64.
    """
    return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)


def best_labels(logits: Tensor, metas: Sequence[ImageMeta], config: ResolvedTest) -> list[Detections]:
    """Returns each image's ``max_per_image`` best labels above the threshold; their boxes are the whole image.

    Args:
        logits: (B, C).
    """
    scores, labels = logits.float().softmax(dim=1).sort(dim=1, descending=True, stable=True)
    results = []
    for row, column, meta in zip(scores, labels, metas, strict=True):
        keep = (row > config.score_threshold).nonzero().squeeze(1)[: config.max_per_image]
        height, width = meta.original_size or meta.canvas_size or (0, 0)
        boxes = row.new_tensor([[0, 0, width, height]]).expand(len(keep), 4)
        results.append(Detections(boxes, row[keep], column[keep], meta=meta))
    return results


def require_finite_logits(logits: Tensor, results: Sequence[Detections], metas: Sequence[ImageMeta]) -> None:
    """Raises NonFiniteOutputError for images whose logits are no numbers."""
    whole = logits.isfinite().all(dim=1).tolist()
    names = [str(meta.image_id) for fine, meta in zip(whole, metas, strict=True) if not fine]
    if names:
        raise NonFiniteOutputError(
            f"the network's output is NaN or infinite for image {', '.join(names[:4])}: its weights are damaged or diverged "
            "(use others), or half precision is too narrow for them (use fp32)"
        )


def phases(config: ResolvedConfig, source: Source) -> list[Phase]:
    """Returns the single stage of the recipe."""
    pipeline = training_pipeline(config.augment.input_size, config.augment.flip_prob, config.augment.crop)
    return [Phase("classify", config.train.epochs, pipeline)]


def draw_labelled(folder: Path, **settings: Any) -> dict[str, str]:
    """Draws a set of forms, where it is not there yet, and returns its ``data.*`` settings."""
    return {f"data.{name}": str(path) for name, path in generate_labelled(folder, **settings).items()}


def label_rows(results: Detections, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Returns an image's labels as they go into a file."""
    pairs = zip(results.labels.tolist(), results.scores.tolist(), strict=True)
    return [{"class": classes[label], "score": score} for label, score in pairs]


def from_raw(raw: dict[str, np.ndarray], images: Tensor) -> Tensor:
    """Returns the logits of an exported network."""
    return torch.from_numpy(raw["class_logits"])


def draw_label(image: Any, results: Detections, classes: Sequence[str], **options: Any) -> Any:
    """Returns a figure of the image with its best labels above it."""
    from rtmdet_lab.viz.draw import draw_detections

    words = [f"{row['class']} {row['score']:.2f}" for row in label_rows(results, classes)]
    return draw_detections(image, results[[]], classes, title=", ".join(words), **options)


SPEC = TaskSpec(
    facts=TASKS["classification"],
    network=ImageClassifier,
    build=classification_task,
    data=CLASS_FOLDERS,
    boxes=UPRIGHT,
    masks=False,
    phases=phases,
    reading_side=lambda config: config.augment.input_size,
    generator=generate_labelled,
    generate=draw_labelled,
    shown_stages={"classify": {"train.epochs": 1}},
    short_settings=lambda epochs: ["augment.crop=false"],
    decode=best_labels,
    raw_outputs=("class_logits",),
    from_raw=from_raw,
    found_outputs=None,  # there is nothing after the network
    matches=None,
    test_pipeline=center_pipeline,
    require_finite=require_finite_logits,
    rows=label_rows,
    draw=draw_label,
    coco_results=False,
)
