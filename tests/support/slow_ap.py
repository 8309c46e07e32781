"""The COCO numbers in plain loops, from the benchmark's definition. Nothing is shared with pycocotools."""

from __future__ import annotations

IOUS = [0.5 + 0.05 * step for step in range(10)]
AREAS = {"": (0, 1e10), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}


def area(box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def overlap(box, truth, crowd: bool) -> float:
    width, height = min(box[2], truth[2]) - max(box[0], truth[0]), min(box[3], truth[3]) - max(box[1], truth[1])
    both = max(width, 0) * max(height, 0)
    return both / (area(box) if crowd else area(box) + area(truth) - both)  # inside a crowd: share of the detection


def outcomes(found, truth, threshold: float, limits) -> tuple[list, int]:
    """Returns ([(score, is right)] of the detections that count, number of objects that count) of one image and class.

    ``found``: (score, box); ``truth``: (box, area, crowd).
    """
    counts = [not crowd and limits[0] <= size <= limits[1] for _, size, crowd in truth]
    taken, rows = set(), []
    for score, box in sorted(found, key=lambda one: -one[0]):
        best, best_overlap = None, threshold
        for wanted in (True, False):  # objects that do not count only take what the others leave
            for number, (other, _, crowd) in enumerate(truth):
                free = counts[number] == wanted and (crowd or number not in taken)
                if free and overlap(box, other, crowd) >= best_overlap:
                    best, best_overlap = number, overlap(box, other, crowd)
            if best is not None:
                break
        if best is None:
            if limits[0] <= area(box) <= limits[1]:
                rows.append((score, False))
        else:
            taken.add(best)
            if counts[best]:
                rows.append((score, True))
    return rows, sum(counts)


def average_precision(rows, objects: int) -> tuple[float, float]:
    """Returns (mean of the best precision at 101 recalls, largest recall)."""
    recalls, precisions, right = [], [], 0
    for number, (_, is_right) in enumerate(sorted(rows, key=lambda one: -one[0]), start=1):
        right += is_right
        recalls.append(right / objects)
        precisions.append(right / number)
    total = 0.0
    for step in range(101):
        reached = [p for r, p in zip(recalls, precisions, strict=True) if r >= step * 0.01]  # 0.07 is a hair over 7 / 100
        total += max(reached, default=0.0)
    return total / 101, max(recalls, default=0.0)


def slow_numbers(images) -> dict[str, float]:
    """Returns the 12 numbers.

    ``images``: a list of (found, truth), which are {label: [(score, box)]} and {label: [(box, area, crowd)]}.
    """
    labels = sorted({label for _, truth in images for label in truth})

    def means(thresholds, limits, most=100) -> tuple[float, float]:
        values = []
        for label in labels:
            for threshold in thresholds:
                rows, objects = [], 0
                for found, truth in images:
                    best = sorted(found.get(label, []), key=lambda one: -one[0])[:most]
                    more, count = outcomes(best, truth.get(label, []), threshold, limits)
                    rows, objects = rows + more, objects + count
                if objects:
                    values.append(average_precision(rows, objects))
        if not values:
            return -1.0, -1.0
        return sum(ap for ap, _ in values) / len(values), sum(ar for _, ar in values) / len(values)

    numbers = {"AP50": means([0.5], AREAS[""])[0], "AP75": means([0.75], AREAS[""])[0]}
    for most in (1, 10):
        numbers[f"AR{most}"] = means(IOUS, AREAS[""], most)[1]
    for name, limits in AREAS.items():
        numbers[f"AP{name}"], numbers[f"AR{name or 100}"] = means(IOUS, limits)
    return numbers
