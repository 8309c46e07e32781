"""Renders one scene: forms of ten classes among clutter, with the visible pixels of each.

The class of an object shows in its form alone. Later objects cover earlier ones; an object of which less than a quarter
would stay visible is moved or left out before anything is drawn, so everything drawn counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rtmdet_lab.synthetic.forms import SCENE_CLASSES, SCENE_FORMS, Coverage, check_scene_classes, distractor, fill, pose
from rtmdet_lab.synthetic.paint import blend, color_apart, color_near, finish, octave_noise, random_color, texture
from rtmdet_lab.synthetic.settings import check_image_settings, image_stream

SMALLEST_VISIBLE_SHARE = 0.25
SMALLEST_OBJECT = 8.0  # pixels on the longer side of the box

_TRIES = 12  # positions tried before an object is left out


@dataclass(frozen=True)
class SceneObject:
    """An object, or a crowd of objects too small to annotate one by one."""

    label: int  # index into SCENE_CLASSES
    box: tuple[int, int, int, int]  # x, y, width, height in pixels around the visible part
    mask: np.ndarray  # (height, width) bool inside the box: the visible pixels
    visible_share: float  # visible pixels over those of the whole form, beyond the image's border too
    crowd: bool = False

    @property
    def name(self) -> str:
        """The class name."""
        return SCENE_CLASSES[self.label]


def render_scene(
    seed: int = 0,
    split: str = "train",
    index: int = 0,
    size: int = 256,
    difficulty: float = 0.5,
    classes: Sequence[str] = SCENE_CLASSES,
    single: bool = False,
) -> tuple[np.ndarray, list[SceneObject]]:
    """Returns image ``index`` of a split, (size, size, 3) uint8 RGB, and what is on it.

    Args:
        difficulty: 0 to 1; more means smaller objects, lower contrast, more overlap, clutter, distractors, blur and noise.
        classes: the forms to draw, one or more of ``SCENE_CLASSES``; labels stay indices into ``SCENE_CLASSES``.
        single: one large form alone, beside what is of no class.

    Raises:
        SettingError: a size below 64, a difficulty outside of 0..1, an unknown split or class, a negative seed or index.
    """
    check_image_settings(size, difficulty)
    labels = [SCENE_CLASSES.index(name) for name in check_scene_classes(classes)]
    rng = image_stream("scenes", seed, split, index)
    canvas = _Canvas(_background(rng, size, difficulty))
    kind = "single" if single else _scene_kind(rng, difficulty)
    if kind == "crowded" and rng.random() < 0.6:
        _add_crowd(rng, canvas, labels, difficulty)
    for label, side, spot in _plan(rng, kind, size, labels, difficulty):
        _place(rng, canvas, label, side, spot, difficulty)
    objects = canvas.objects()
    finish(rng, canvas.pixels, difficulty)
    return canvas.pixels, objects


def _scene_kind(rng: np.random.Generator, difficulty: float) -> str:
    draw = rng.random()
    if draw < 0.02:
        return "empty"
    if draw < 0.17:
        return "large"
    return "crowded" if draw < 0.17 + 0.1 * difficulty else "usual"


@dataclass(frozen=True)
class _Spots:
    """Where the centers of objects fall: a normal cloud around ``center``, or anywhere where that is None."""

    size: int
    center: np.ndarray | None = None
    spread: float = 0.0

    def draw(self, rng: np.random.Generator) -> tuple[float, float]:
        if self.center is None:
            x, y = rng.uniform(0.04, 0.96, 2) * self.size
        else:
            x, y = np.clip(rng.normal(self.center, self.spread), 0.02 * self.size, 0.98 * self.size)
        return float(x), float(y)


def _plan(
    rng: np.random.Generator, kind: str, size: int, labels: list[int], difficulty: float
) -> list[tuple[int | None, float, _Spots]]:
    """Returns what to draw in this order: (class or None for a distractor, pixels on its longer side, where)."""
    anywhere = _Spots(size)
    smallest, largest = max(24 - 16 * difficulty, SMALLEST_OBJECT), (0.5 + 0.2 * difficulty) * size
    plan: list[tuple[int | None, float, _Spots]] = []
    if kind == "usual":
        for _ in range(int(rng.integers(3, 9))):
            plan.append((_any_of(rng, labels), _log_uniform(rng, smallest, largest), anywhere))
    elif kind == "single":
        plan.append(
            (_any_of(rng, labels), rng.uniform(0.5, 0.9) * size, _Spots(size, np.array([size / 2, size / 2]), 0.05 * size))
        )
    elif kind == "large":
        middle = _Spots(size, np.array([size / 2, size / 2]), 0.2 * size)
        for _ in range(int(rng.integers(1, 4))):
            plan.append((_any_of(rng, labels), rng.uniform(0.4, 0.95) * size, middle))
    elif kind == "crowded":
        # A crowd is of few kinds, like people in a street, and its members are about the same size.
        members = rng.choice(labels, min(int(rng.integers(1, 5)), len(labels)), replace=False)
        typical = _log_uniform(rng, 15 - 7 * difficulty, max(0.1 * size, 16))
        heap = _Spots(size, rng.uniform(0.3, 0.7, 2) * size, 0.17 * size)
        for _ in range(int(rng.integers(15, 41))):
            side = max(typical * rng.uniform(0.7, 1.3), SMALLEST_OBJECT)
            plan.append((int(rng.choice(members)), side, heap))
        if rng.random() < 0.5:
            plan.append((_any_of(rng, labels), _log_uniform(rng, smallest, largest), anywhere))
    plan += [(None, _log_uniform(rng, 12, 0.5 * size), anywhere) for _ in range(rng.poisson(6 * difficulty))]
    # Larger things tend to come first, as those behind: small ones drawn first would be hidden and given up.
    order = np.argsort([-side * rng.uniform(0.5, 1.5) for _, side, _ in plan], kind="stable")
    return [plan[position] for position in order]


def _any_of(rng: np.random.Generator, labels: list[int]) -> int:
    return labels[int(rng.integers(len(labels)))]


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Returns a length from ``low`` to ``high`` pixels, small ones a little likelier than log-uniform."""
    return float(low * (high / low) ** (rng.random() ** 1.2))


def _place(
    rng: np.random.Generator, canvas: _Canvas, label: int | None, side: float, spots: _Spots, difficulty: float
) -> None:
    """Draws the object at the first of a few random places that leaves it and those below visible enough."""
    share = max(SMALLEST_VISIBLE_SHARE, 1 - 1.5 * difficulty * rng.random())
    outlines = None if label is None else SCENE_FORMS[SCENE_CLASSES[label]](rng)
    for _ in range(_TRIES):
        center = spots.draw(rng)
        if outlines is None:
            coverage = distractor(rng, side, center)
        else:
            coverage = fill(pose(rng, outlines, side, center))
        if canvas.accepts(coverage, 0.0 if label is None else share):
            owner = canvas.claim(label, coverage, share)
            canvas.draw(rng, owner, coverage, difficulty)
            return


def _add_crowd(rng: np.random.Generator, canvas: _Canvas, labels: list[int], difficulty: float) -> None:
    """Draws a dense group of one class so small that it is annotated as one crowd region."""
    size = len(canvas.pixels)
    label = _any_of(rng, labels)
    group = _Spots(size, rng.uniform(0.2, 0.8, 2) * size, 0.07 * size)
    forms = []
    for _ in range(int(rng.integers(12, 30))):
        outlines = SCENE_FORMS[SCENE_CLASSES[label]](rng)
        forms.append(fill(pose(rng, outlines, rng.uniform(6, 9), group.draw(rng))))
    owner = canvas.claim(label, forms[0], 0.5, crowd=True)
    for coverage in forms:
        canvas.draw(rng, owner, coverage, difficulty)
    canvas.whole[owner] = int((canvas.owner == owner).sum())


class _Canvas:
    """The image so far, and which object each pixel belongs to (0: none)."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.owner = np.zeros(pixels.shape[:2], np.int16)
        self.labels: list[int | None] = [None]
        self.whole = [0]  # pixels of each whole form
        self.least_share = [0.0]  # of each form, what has to stay visible
        self.crowd = [False]

    def accepts(self, coverage: Coverage, share: float) -> bool:
        """Says whether the form would be visible enough, and would leave those it covers visible enough."""
        rows, columns, part = self._window(coverage)
        solid = part >= 0.5
        if not solid.any() or solid.sum() < share * coverage.solid.sum():
            return False
        for owner, covered in zip(*np.unique(self.owner[rows, columns][solid], return_counts=True), strict=True):
            left = np.count_nonzero(self.owner == owner) - covered
            if left < self.least_share[owner] * self.whole[owner]:
                return False
        return True

    def claim(self, label: int | None, coverage: Coverage, least_share: float, crowd: bool = False) -> int:
        """Enters a new owner of pixels; a distractor may be covered as far as it happens."""
        self.labels.append(label)
        self.whole.append(int(coverage.solid.sum()))
        self.least_share.append(0.0 if label is None else least_share)
        self.crowd.append(crowd)
        return len(self.labels) - 1

    def draw(self, rng: np.random.Generator, owner: int, coverage: Coverage, difficulty: float) -> None:
        """Paints the form in colours that stand out from what is there, and hands its pixels to ``owner``."""
        rows, columns, part = self._window(coverage)
        if not part.any():
            return
        below = self.pixels[rows, columns]
        first = color_apart(rng, below.reshape(-1, 3).mean(0), 110 - 80 * difficulty)
        second = color_near(rng, first, 10, 90)
        side = max(coverage.alpha.shape)
        period = float(np.clip(side * rng.uniform(0.12, 0.4), 3, 24))
        colors = texture(rng, part.shape[0], part.shape[1], first, second, period)
        if side > 14 and rng.random() < 0.35:
            rim = int(np.clip(side * rng.uniform(0.02, 0.06), 1, 5))
            kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1,) * 2)
            inner = self._window(Coverage(coverage.left, coverage.top, cv2.erode(coverage.alpha, kernel)))[2]
            colors += (1 - inner[:, :, None]) * (color_apart(rng, first, 70) - colors)
        blend(below, part, colors)
        self.owner[rows, columns][part >= 0.5] = owner

    def objects(self) -> list[SceneObject]:
        """Returns what the pixels belong to in the end, distractors left out."""
        found = []
        for owner, label in enumerate(self.labels):
            if label is None:
                continue
            mask = self.owner == owner
            share = mask.sum() / self.whole[owner]
            if self.crowd[owner]:
                closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
                mask |= (closed > 0) & (self.owner == 0)
            x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
            inside = mask[y : y + height, x : x + width].copy()
            found.append(SceneObject(label, (x, y, width, height), inside, float(share), self.crowd[owner]))
        return found

    def _window(self, coverage: Coverage) -> tuple[slice, slice, np.ndarray]:
        """Returns the rows and columns of the image that the coverage lies on, and its part there."""
        height, width = coverage.alpha.shape
        top, bottom = (int(np.clip(row, 0, len(self.pixels))) for row in (coverage.top, coverage.top + height))
        left, right = (int(np.clip(column, 0, self.pixels.shape[1])) for column in (coverage.left, coverage.left + width))
        part = coverage.alpha[top - coverage.top : bottom - coverage.top, left - coverage.left : right - coverage.left]
        return slice(top, bottom), slice(left, right), part


def _background(rng: np.random.Generator, size: int, difficulty: float) -> np.ndarray:
    """Returns (size, size, 3) uint8: two textures that meet along a noise contour, uneven light, and clutter lines."""
    color = random_color(rng)
    patches = []
    for _ in range(2):
        period = rng.uniform(5, 40)
        second = color_near(rng, color, 5, 15 + 90 * difficulty)
        patches.append(texture(rng, size, size, color, second, period))
        color = color_near(rng, color, 10, 20 + 100 * difficulty)
    border = np.clip((octave_noise(rng, size, size, cell=size / 2) - rng.uniform(0.3, 0.9)) * 40, 0, 1)[:, :, None]
    pixels = patches[0] * (1 - border) + patches[1] * border
    light = octave_noise(rng, size, size, cell=rng.uniform(0.1, 0.6) * size, count=5) - 0.5
    pixels += light[:, :, None] * np.float32(20 + 60 * difficulty)
    image = np.clip(pixels, 0, 255).astype(np.uint8)
    for _ in range(rng.poisson(8 * difficulty)):
        start, end = (rng.uniform(-0.2, 1.2, 2) * size for _ in range(2))
        line = np.round(np.stack([start, end]) * 16).astype(np.int32)
        tone = tuple(float(value) for value in color_near(rng, color, 20, 100))
        cv2.polylines(image, [line], False, tone, int(rng.integers(1, 4)), cv2.LINE_AA, shift=4)
    return image
