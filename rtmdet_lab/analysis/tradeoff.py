"""Accuracy against cost: which detectors lie above the curve of a series, by their numbers and not by their names."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

COSTS = {"macs_G": "multiply-adds", "params_M": "parameters"}


def height_of_curve(points: Sequence[tuple[float, float]], cost: float) -> float | None:
    """Returns the AP of a series at a cost; None below its cheapest model, where it has nothing to compare with.

    Between two models the curve is straight over the logarithm of the cost, as figures draw it; beyond the dearest one it
    stays where it is, since that model may be taken for less.

    Args:
        points: (cost, AP) of the models, the cheapest first.

    >>> round(height_of_curve([(1, 40), (100, 50)], 10), 3), height_of_curve([(1, 40), (100, 50)], 0.5)
    (45.0, None)
    """
    if cost < points[0][0]:
        return None
    for (low, start), (high, end) in itertools.pairwise(points):
        if low <= cost <= high:
            return start + (end - start) * math.log(cost / low) / math.log(high / low)
    return points[-1][1]


def peers_above(
    own: Mapping[str, Mapping[str, str]], peers: Mapping[str, Mapping[str, Mapping[str, str]]], cost: str
) -> tuple[dict[str, float], int]:
    """Returns how far, in points of AP, peers lie above the curve of ``own``, the farthest first, and how many compare.

    Models without one of the two numbers are passed over. A peer that is cheaper than every model of ``own`` is above it
    where its AP is higher than that of the cheapest, and does not compare otherwise.

    Args:
        own, peers: numbers as printed, by model, and by series and model.
        cost: their name, such as "macs_G".
    """
    points = sorted((float(one[cost]), float(one["AP"])) for one in own.values() if {cost, "AP"} <= one.keys())
    above, compared = {}, 0
    for series, models in peers.items():
        for name, numbers in models.items():
            if not {cost, "AP"} <= numbers.keys() or not points:
                continue
            height = height_of_curve(points, float(numbers[cost]))
            ap = float(numbers["AP"])
            if height is None and ap <= points[0][1]:
                continue
            compared += 1
            distance = ap - (points[0][1] if height is None else height)
            if distance > 0:
                above[f"{series} {name}"] = distance
    return dict(sorted(above.items(), key=lambda pair: -pair[1])), compared


def describe_peers(own: Mapping[str, Mapping[str, str]], peers: Mapping[str, Mapping[str, Mapping[str, str]]]) -> list[str]:
    """Returns a sentence per cost: which peers contradict that the curve of RTMDet lies above all of them.

    By published numbers alone; costs of which no peer states one are left out.
    """
    sentences = []
    for cost, words in COSTS.items():
        above, compared = peers_above(own, peers, cost)
        if not compared:
            continue
        if above:
            listed = ", ".join(f"{name} (+{distance:.1f})" for name, distance in above.items())
            sentences.append(
                f"RTMDet lies above all {compared} peers at equal {words}: contradicted by published numbers; above its "
                f"curve: {listed}"
            )
        else:
            sentences.append(f"RTMDet lies above all {compared} peers at equal {words}: supported by published numbers")
    return sentences
