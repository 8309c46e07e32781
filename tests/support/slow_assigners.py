"""Assigners for one image in plain loops, written from docs/paper.md 4.1, 3.3 and the papers of the baselines.

Everything is a Python float. The library computes in float32, where two costs that differ by a rounding error may change
places: an oracle therefore also says whether any of its decisions was that close.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

BACKGROUND = -1


@dataclass
class Matched:
    index: list[int]  # per point
    quality: list[float]
    close_call: bool = False  # a decision hung on a difference that float32 may not see
    tie: bool = False  # two objects cost a point exactly the same: the first one gets it


@dataclass
class Recipe:
    """What tells one dynamic assigner from another; the defaults are RTMDet's."""

    topk: int = 13
    cls: str = "soft"
    iou: str = "log"
    center: str = "soft"
    weights: tuple[float, float, float] = (1.0, 3.0, 1.0)
    radius: float = 3.0
    base: float = 10.0
    candidate_radius: float = 0.0  # SimOTA: points this near to a center are candidates too


RTMDET = Recipe()
SIMOTA = Recipe(topk=10, cls="bce", center="fixed", radius=2.5, candidate_radius=2.5)


@dataclass
class Image:
    points: list  # (x, y)
    strides: list
    logits: list  # per point, per class
    boxes: list  # per point, x1 y1 x2 y2
    objects: list = field(default_factory=list)  # x1 y1 x2 y2
    labels: list = field(default_factory=list)
    ignore: list = field(default_factory=list)


def iou(a, b) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / max(union, 1e-6)


def giou(a, b) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return both / union - (hull - union) / hull


def center(box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def inside(point, box) -> bool:
    return box[0] < point[0] < box[2] and box[1] < point[1] < box[3]


def near_center(point, stride, box, radius) -> bool:
    x, y = center(box)
    return abs(point[0] - x) < radius * stride and abs(point[1] - y) < radius * stride


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def cross_entropy(z: float, y: float) -> float:
    return max(z, 0.0) - z * y + math.log1p(math.exp(-abs(z)))


def cls_cost(kind: str, logits, label: int, overlap: float) -> float:
    if kind == "none":
        return 0.0
    total = 0.0
    for number, z in enumerate(logits):
        y = (overlap if kind == "soft" else 1.0) if number == label else 0.0
        total += cross_entropy(z, y) * (1.0 if kind == "bce" else (y - sigmoid(z)) ** 2)
    return total


def iou_cost(kind: str, predicted, box, overlap: float) -> float:
    if kind == "log":
        return -math.log(overlap + 1e-7)
    if kind == "giou":
        return 1 - giou(predicted, box)
    return 1 - overlap if kind == "linear" else 0.0


def center_cost(kind: str, point, stride, box, radius: float, base: float) -> float:
    if kind == "none":
        return 0.0
    if kind == "fixed":
        return 0.0 if inside(point, box) and near_center(point, stride, box, radius) else 1e5
    x, y = center(box)
    return base ** (math.hypot(point[0] - x, point[1] - y) / stride - radius)


def is_close(a: float, b: float, relative: float = 3e-6) -> bool:
    return abs(a - b) <= 2e-5 + relative * max(abs(a), abs(b))


def slow_dynamic(image: Image, recipe: Recipe = RTMDET) -> Matched:
    count = len(image.points)
    matched = Matched([BACKGROUND] * count, [0.0] * count)
    known = [number for number, skip in enumerate(image.ignore) if not skip]
    relative = 2e-7 if recipe.center == "fixed" else 3e-6  # a wall of 1e5 is exact, a power is not

    candidates = []  # step 1
    for i in range(count):
        for j in known:
            near = near_center(image.points[i], image.strides[i], image.objects[j], recipe.candidate_radius)
            if inside(image.points[i], image.objects[j]) or near:
                candidates.append(i)
                break

    cost, claims = {}, {i: [] for i in candidates}
    for j in known:
        box = image.objects[j]
        overlap = {i: iou(image.boxes[i], box) for i in candidates}
        for i in candidates:
            parts = (
                cls_cost(recipe.cls, image.logits[i], image.labels[j], overlap[i]),
                iou_cost(recipe.iou, image.boxes[i], box, overlap[i]),
                center_cost(recipe.center, image.points[i], image.strides[i], box, recipe.radius, recipe.base),
            )
            cost[i, j] = sum(weight * part for weight, part in zip(recipe.weights, parts, strict=True))

        total = sum(sorted(overlap.values(), reverse=True)[: recipe.topk])  # step 2
        k = max(1, math.floor(total))
        matched.close_call |= total > 1.5 and abs(total - round(total)) < 1e-5

        cheapest = sorted(candidates, key=lambda i: cost[i, j])  # step 3
        for i in cheapest[:k]:
            claims[i].append(j)
        if k < len(cheapest):
            matched.close_call |= is_close(cost[cheapest[k - 1], j], cost[cheapest[k], j], relative)

    for i, claimants in claims.items():  # steps 4 and 5
        if len(claimants) == 1:
            matched.index[i] = claimants[0]
        elif claimants:
            order = sorted(known, key=lambda j: cost[i, j])
            matched.index[i] = order[0]
            first, second = cost[i, order[0]], cost[i, order[1]]
            matched.tie |= first == second
            matched.close_call |= first != second and is_close(first, second, relative)  # equal here is equal in float32
        if claimants:
            matched.quality[i] = iou(image.boxes[i], image.objects[matched.index[i]])
    return matched


def slow_atss(image: Image, topk: int = 9) -> Matched:
    """arXiv 1912.02424, algorithm 1, with one square anchor of 8 strides per point."""
    count = len(image.points)
    matched = Matched([BACKGROUND] * count, [0.0] * count)
    anchors = [(x - 4 * s, y - 4 * s, x + 4 * s, y + 4 * s) for (x, y), s in zip(image.points, image.strides, strict=True)]
    best = [0.0] * count
    for j, box in enumerate(image.objects):
        if image.ignore[j]:
            continue
        x, y = center(box)
        near = []
        for stride in sorted(set(image.strides)):
            level = [i for i in range(count) if image.strides[i] == stride]
            distance = {i: math.dist(image.points[i], (x, y)) for i in level}
            level.sort(key=lambda i: distance[i])
            near += level[:topk]
            if topk < len(level):
                matched.close_call |= is_close(distance[level[topk - 1]], distance[level[topk]])
        overlaps = {i: iou(anchors[i], box) for i in near}
        mean = sum(overlaps.values()) / len(near)
        spread = sum((one - mean) ** 2 for one in overlaps.values()) / max(len(near) - 1, 1)
        threshold = mean + math.sqrt(spread)
        for i in near:
            if not inside(image.points[i], box):
                continue
            matched.close_call |= is_close(overlaps[i], threshold)
            if overlaps[i] >= threshold:
                if matched.index[i] != BACKGROUND:
                    matched.close_call |= overlaps[i] != best[i] and is_close(overlaps[i], best[i])
                if matched.index[i] == BACKGROUND or overlaps[i] > best[i]:
                    matched.index[i], best[i] = j, overlaps[i]
    for i, j in enumerate(matched.index):
        if j != BACKGROUND:
            matched.quality[i] = iou(image.boxes[i], image.objects[j])
    return matched


def slow_task_aligned(image: Image, topk: int = 13) -> Matched:
    """arXiv 2108.07755, section 3.2, with alpha 1 and beta 6."""
    count = len(image.points)
    matched = Matched([BACKGROUND] * count, [0.0] * count)
    alignment, overlaps = {}, {}
    for j, box in enumerate(image.objects):
        if image.ignore[j]:
            continue
        for i in range(count):
            overlaps[i, j] = iou(image.boxes[i], box)
            alignment[i, j] = sigmoid(image.logits[i][image.labels[j]]) * overlaps[i, j] ** 6
            matched.close_call |= 0 < alignment[i, j] < 1e-37  # float32 may call it nothing
        order = sorted(range(count), key=lambda i: -alignment[i, j])
        if topk < count and alignment[order[topk - 1], j] > 0:
            last, next_one = (alignment[order[place], j] for place in (topk - 1, topk))
            matched.close_call |= abs(last - next_one) <= 1e-5 * last
        for i in order[:topk]:
            if alignment[i, j] == 0 or not inside(image.points[i], box):
                continue
            holder = matched.index[i]
            if holder != BACKGROUND:
                held = overlaps[i, holder]
                matched.close_call |= overlaps[i, j] != held and abs(overlaps[i, j] - held) <= 3e-6 * held
            if holder == BACKGROUND or overlaps[i, j] > overlaps[i, holder]:
                matched.index[i] = j
    for j in set(matched.index) - {BACKGROUND}:
        own = [i for i in range(count) if matched.index[i] == j]
        strongest, highest = max(alignment[i, j] for i in own), max(overlaps[i, j] for i in own)
        for i in own:
            matched.quality[i] = alignment[i, j] / (strongest + 1e-7) * highest
    return matched
