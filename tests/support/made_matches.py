"""Predictions and ground truth for tests of assigners, losses and tasks."""

from __future__ import annotations

import dataclasses

import torch
from slow_assigners import Image, Matched
from torch.testing import assert_close

from rtmdet_lab.core.structures import Assignment, DensePredictions, Priors, Targets
from rtmdet_lab.geometry.priors import point_grid

torch.set_num_threads(1)  # see made_samples

SIDE = 64  # pixels of the canvas; objects may reach over it
PRIORS = point_grid([(8, 8), (4, 4), (2, 2)], [8, 16, 32])


def made_objects(generator: torch.Generator, most: int, num_classes: int) -> Targets:
    """Returns up to ``most`` objects: small and large, tiny, far off the canvas, twins, some of them ignored."""

    def draw(*shape):
        return torch.rand(shape, generator=generator)

    count = int(torch.randint(0, most + 1, (), generator=generator))
    if count and draw() < 0.15:
        count = 0
    corner, sides = draw(count, 2) * SIDE * 1.1 - 4, draw(count, 2) ** 2 * SIDE + 1
    sides = torch.where(draw(count, 1) < 0.1, sides * 0.02, sides)  # tiny: mostly between the points
    corner = torch.where(draw(count, 1) < 0.1, corner + 3 * SIDE, corner)  # beyond every point
    boxes = torch.cat([corner, corner + sides], dim=-1)
    labels = torch.randint(0, num_classes, (count,), generator=generator)
    if count > 2:
        boxes[1], labels[1] = boxes[0], labels[0]  # twins
        boxes[2] = boxes[0]
    return Targets(boxes, labels, ignore=draw(count) < 0.1)


def made_batch(seed: int, most: int = 30) -> tuple[DensePredictions, list[Targets]]:
    """Returns 1 to 4 images whose predictions partly fit their objects."""
    generator = torch.Generator().manual_seed(seed)
    images = int(torch.randint(1, 5, (), generator=generator))
    num_classes = (1, 2, 5)[int(torch.randint(3, (), generator=generator))]
    targets = [made_objects(generator, most, num_classes) for _ in range(images)]
    points = len(PRIORS)
    logits = torch.randn(images, points, num_classes, generator=generator) * 3 - 2
    distances = torch.rand(images, points, 4, generator=generator) * 4 * PRIORS.strides[:, None] - 4  # some are negative
    boxes = torch.cat([PRIORS.points - distances[..., :2], PRIORS.points + distances[..., 2:]], dim=-1)
    for image, one in enumerate(targets):
        if len(one):
            chosen = torch.randint(0, len(one), (points,), generator=generator)
            jitter = torch.randn(points, 4, generator=generator) * 2
            fits = torch.rand(points, 1, generator=generator) < 0.5
            boxes[image] = torch.where(fits, one.boxes[chosen] + jitter, boxes[image])
    return DensePredictions(logits, boxes, PRIORS), targets


def predicted(logits, boxes, points, strides=None) -> DensePredictions:
    """Returns the predictions of one image from lists: logits (P, C), boxes (P, 4), points (P, 2)."""
    strides = [8] * len(points) if strides is None else strides
    priors = Priors(torch.tensor(points).float(), torch.tensor(strides).float())
    return DensePredictions(torch.tensor(logits)[None].float(), torch.tensor(boxes)[None].float(), priors)


def objects(boxes, labels=None, **fields) -> Targets:
    labels = [0] * len(boxes) if labels is None else labels
    return Targets(torch.tensor(boxes).float().reshape(-1, 4), torch.tensor(labels, dtype=torch.int64), **fields)


def images_of(predictions: DensePredictions, targets: list[Targets]) -> list[Image]:
    """Returns a batch as lists of numbers, one image each."""
    points, strides = predictions.priors.points.tolist(), predictions.priors.strides.tolist()
    return [
        Image(
            points,
            strides,
            predictions.logits[number].tolist(),
            predictions.boxes[number].tolist(),
            one.boxes.tolist(),
            one.labels.tolist(),
            one.ignore.tolist() if one.ignore is not None else [False] * len(one),
        )
        for number, one in enumerate(targets)
    ]


def assert_equals_oracle(assigner, oracle, seeds, most: int = 30, atol: float = 1e-6) -> tuple[int, int]:
    """Checks every image of the seeds' batches; returns how many were compared and how many were too close to tell."""
    compared, close = 0, 0
    for seed in seeds:
        predictions, targets = made_batch(seed, most)
        assignment = assigner(predictions, targets)
        for number, image in enumerate(images_of(predictions, targets)):
            expected: Matched = oracle(image)
            if expected.close_call:
                close += 1
                continue
            compared += 1
            assert assignment.gt_index[number].tolist() == expected.index, (seed, number)
            quality = torch.tensor(expected.quality)
            assert_close(assignment.quality[number], quality, rtol=0, atol=atol, msg=f"seed {seed}, image {number}")
    return compared, close


def without_twins(target: Targets) -> Targets:
    keep = torch.ones(len(target), dtype=torch.bool)
    keep[1:3] = False
    return target[keep]


def assert_same_assignment(first: Assignment, second: Assignment) -> None:
    for item in dataclasses.fields(first):
        assert torch.equal(getattr(first, item.name), getattr(second, item.name)), item.name
