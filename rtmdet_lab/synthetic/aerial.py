"""Renders one aerial scene with oriented objects, from a small tile to 12,000 pixels and more on each side."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from rtmdet_lab.synthetic.aerial_forms import (
    AERIAL_FORMS,
    AerialObject,
    OrientedBox,
    object_coverage,
    paint_object,
    paint_polygons,
    rectangle,
)
from rtmdet_lab.synthetic.forms import Coverage, fill
from rtmdet_lab.synthetic.ground import ROOF_COLORS, TREE_COLORS, land, paint_region, paint_road, pick_color, tree_outline
from rtmdet_lab.synthetic.paint import color_apart, color_near, finish
from rtmdet_lab.synthetic.settings import check_image_settings, image_stream
from rtmdet_lab.synthetic.sites import CELL, Layout, lay_out_site

DIFFICULT_LENGTH = 8.0  # pixels; objects whose longer side is shorter are marked difficult
DIFFICULT_SHARE = 0.5  # objects of which less is visible are marked difficult
SMALLEST_VISIBLE_SHARE = 0.25  # no tree hides more of an object


def render_aerial(
    seed: int = 0, split: str = "train", index: int = 0, size: int = 512, difficulty: float = 0.5
) -> tuple[np.ndarray, list[AerialObject]]:
    """Returns image ``index`` of a split, (size, size, 3) uint8 RGB, and the objects whose center lies on it.

    Objects never overlap. The border may cut them and trees may cover part of them; one that shows less than half or is
    shorter than 8 pixels is marked difficult.

    Args:
        size: pixels on each side. 12,000 take about 1.5 GB of memory.
        difficulty: 0 to 1; more means smaller objects, lower contrast, more trees, houses, blur and noise.

    Raises:
        SettingError: a size below 64, a difficulty outside of 0..1, an unknown split or a negative seed or index.
    """
    check_image_settings(size, difficulty)
    rng = image_stream("aerial", seed, split, index)
    pixels = land(rng, size, difficulty)
    layout = Layout(size)
    scale = float(np.exp(rng.uniform(np.log(0.9 - 0.5 * difficulty), np.log(1.5))))
    roads = _lay_out(rng, layout, scale)
    houses = _houses(rng, layout, difficulty)

    for outline, color in layout.regions:
        paint_region(rng, pixels, outline, color)
    for start, end, width in roads:
        paint_road(rng, pixels, start, end, width)
    for house in houses:
        paint_polygons(pixels, _roof(rng, house))
    coverages = []
    for thing in layout.objects:
        base = color_apart(rng, _ground_color(pixels, thing), 100 - 70 * difficulty)
        layers = AERIAL_FORMS[thing.name](rng, base)
        paint_object(pixels, thing, layers)
        coverages.append(object_coverage(thing, layers))
    shares = _grow_trees(rng, pixels, layout.objects, coverages, difficulty)
    finish(rng, pixels, 0.7 * difficulty)
    return pixels, [
        dataclasses.replace(
            thing,
            visible_share=share,
            difficult=max(thing.length, thing.width) < DIFFICULT_LENGTH or share < DIFFICULT_SHARE,
        )
        for thing, share in zip(layout.objects, shares, strict=True)
    ]


def _lay_out(rng: np.random.Generator, layout: Layout, scale: float) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Fills the layout with sites, and with traffic on the roads, which are returned as (start, end, width)."""
    size = layout.size
    for row in range(-(-size // CELL)):
        for column in range(-(-size // CELL)):
            if rng.random() < 0.85:
                lay_out_site(rng, layout, np.array([column, row]) * float(CELL), scale)
    roads = []
    for _ in range(int(rng.poisson(0.6 * size / 512))):
        start, angle_rad = rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi)
        along = np.array([np.cos(angle_rad), np.sin(angle_rad)])
        right = np.array([-along[1], along[0]])
        reach = min(1.5 * size, 3000)  # beyond the border in a small image
        width = 22 * scale
        roads.append((start - along * reach, start + along * reach, width))
        for at in np.arange(-reach, reach, 40 * scale):
            if rng.random() < 0.5:
                lane = 1 if rng.random() < 0.5 else -1
                spot = start + along * (at + rng.uniform(0, 18)) + right * lane * width / 4
                length = 16 * scale * rng.uniform(0.9, 1.2)
                # Traffic keeps to the right: the lane says which way a vehicle faces.
                layout.add("vehicle", spot, length, 0.45 * length, angle_rad if lane > 0 else angle_rad + np.pi)
    return roads


def _houses(rng: np.random.Generator, layout: Layout, difficulty: float) -> list[OrientedBox]:
    """Returns rectangular houses, of no class, on free ground."""
    houses = []
    for _ in range(int(rng.poisson(10 * difficulty * (layout.size / 512) ** 2))):
        center = rng.uniform(0, layout.size, 2)
        length = rng.uniform(14, 60)
        house = OrientedBox(tuple(center), length, length * rng.uniform(0.5, 1.0), rng.uniform(0, 2 * np.pi))
        if layout.take(house, margin=2):
            houses.append(house)
    return houses


def _roof(rng: np.random.Generator, house: OrientedBox) -> list[tuple[np.ndarray, np.ndarray]]:
    color = pick_color(rng, ROOF_COLORS)
    halves = [(rectangle(v=(-1, 0)), color), (rectangle(v=(0, 1)), color_near(rng, color, 15, 45))]
    return [(house.to_pixels(half), tone) for half, tone in halves]


def _ground_color(pixels: np.ndarray, thing: AerialObject) -> np.ndarray:
    """Returns the mean RGB in the object's upright box."""
    left, top = np.clip(np.floor(thing.quad.min(0)).astype(int), 0, len(pixels) - 1)
    right, bottom = np.clip(np.ceil(thing.quad.max(0)).astype(int), 1, len(pixels))
    return pixels[top : max(bottom, top + 1), left : max(right, left + 1)].reshape(-1, 3).mean(0)


def _grow_trees(
    rng: np.random.Generator,
    pixels: np.ndarray,
    objects: list[AerialObject],
    coverages: list[Coverage],
    difficulty: float,
) -> list[float]:
    """Draws trees, some leaning over objects, and returns what share of each object stays visible.

    A tree that would hide an object almost completely is left out.
    """
    size = len(pixels)
    centers = np.array([thing.center for thing in objects]).reshape(-1, 2)
    reach = np.array([np.hypot(thing.length, thing.width) / 2 for thing in objects])
    whole = [max(int(coverage.solid.sum()), 1) for coverage in coverages]
    visible = [_inside(coverage, size) for coverage in coverages]
    spots = [rng.uniform(0, size, 2) for _ in range(int(rng.poisson(16 * difficulty * (size / 512) ** 2)))]
    radii = [float(rng.uniform(4, 22)) for _ in spots]
    for thing in objects:
        if rng.random() < 0.1 * difficulty:
            lean = thing.to_pixels(rng.choice((-1.0, 1.0), (1, 2)) * rng.uniform(0.2, 1.0, (1, 2)))[0]
            spots.append(lean)
            radii.append(float(np.clip(np.sqrt(thing.length * thing.width) * rng.uniform(0.3, 0.6), 4, 40)))
    for spot, radius in zip(spots, radii, strict=True):
        outline = tree_outline(rng, tuple(spot), radius)
        tree = fill([outline])
        hidden = {}
        for index in np.flatnonzero(np.hypot(*(centers - spot).T) < reach + 1.5 * radius).tolist():
            left = visible[index] & ~_shifted(tree.solid, tree, coverages[index])
            hidden[index] = left
        # An object cut by the border may show less already; only what this tree takes counts.
        if any(
            left.sum() < SMALLEST_VISIBLE_SHARE * whole[index] and left.sum() < visible[index].sum()
            for index, left in hidden.items()
        ):
            continue
        for index, left in hidden.items():
            visible[index] = left
        color = pick_color(rng, TREE_COLORS)
        crown = outline + (outline.mean(0) - outline) * 0.35 - radius * 0.12
        paint_polygons(pixels, [(outline, color * 0.8), (crown, color)])
    return [float(mask.sum() / total) for mask, total in zip(visible, whole, strict=True)]


def _inside(coverage: Coverage, size: int) -> np.ndarray:
    """Returns the solid pixels of a coverage that lie on the image, in the coverage's own window."""
    height, width = coverage.alpha.shape
    y, x = np.arange(height)[:, None] + coverage.top, np.arange(width) + coverage.left
    return coverage.solid & (y >= 0) & (y < size) & (x >= 0) & (x < size)


def _shifted(mask: np.ndarray, source: Coverage, target: Coverage) -> np.ndarray:
    """Returns ``mask``, given in the window of ``source``, as it lies in the window of ``target``."""
    height, width = target.alpha.shape
    matrix = np.array([[1, 0, source.left - target.left], [0, 1, source.top - target.top]], np.float32)
    return cv2.warpAffine(mask.astype(np.uint8), matrix, (width, height), flags=cv2.INTER_NEAREST) > 0
