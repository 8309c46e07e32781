"""Reads DOTA label files: one text file per image, one object per line as x1 y1 x2 y2 x3 y3 x4 y4 class difficulty.

HRSC and any other set written that way go through the same reader. What a line can have wrong (not eight numbers, no area,
an unknown class) is refused with the file, the line and the remedy, or left out where ``on_bad`` says so. Corners that cross
or are not convex, which published files have, are taken by the smallest rectangle around them and counted.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from rtmdet_lab.data.images import IMAGE_SUFFIXES
from rtmdet_lab.data.reading import Reading
from rtmdet_lab.errors import DataError, did_you_mean
from rtmdet_lab.files import require_plain
from rtmdet_lab.geometry.rotated import quads_to_rboxes, to_le90
from rtmdet_lab.structures import ImageMeta, Targets
from rtmdet_lab.transforms.base import Sample, image_size
from rtmdet_lab.transforms.geometric import resize_objects

_V10 = (
    *("plane", "baseball-diamond", "bridge", "ground-track-field", "small-vehicle", "large-vehicle", "ship", "tennis-court"),
    *("basketball-court", "storage-tank", "soccer-ball-field", "roundabout", "harbor", "swimming-pool", "helicopter"),
)
DOTA_CLASSES = {"1.0": _V10, "1.5": (*_V10, "container-crane"), "2.0": (*_V10, "container-crane", "airport", "helipad")}

_HEADERS = ("imagesource", "gsd")  # what the first two lines of an official file begin with
_MAX_COORDINATE = 1e6  # pixels; fifty times the largest published image
_MIN_AREA = 1e-3  # pixels^2 of the largest triangle between corners: under it they lie on a line


@dataclass
class LabelFile:
    """The objects of one image, in the order of the file, and the lines that could not be used."""

    path: Path
    quads: np.ndarray  # (G, 8) float64, x1 y1 ... x4 y4 in pixels, as written
    names: list[str]  # class of each object
    difficult: np.ndarray  # (G,) bool: any difficulty but 0
    irregular: np.ndarray  # (G,) bool: corners that cross or are not convex
    lines: list[int]  # where each object stands, from 1
    problems: list[str]  # one sentence per line left out, with file and line


def read_label_file(path: str | Path, classes: Collection[str] | None = None, on_bad: str = "refuse") -> LabelFile:
    """Returns the objects of a DOTA label file.

    Header lines, blank lines, Windows line ends and repeated spaces are passed over; a missing difficulty is 0.

    Args:
        classes: names that may occur; None takes all.
        on_bad: "refuse" raises on the first line that cannot be used, "skip" lists it in ``problems``.

    Raises:
        DataError: unreadable, not text, or a line that cannot be used; names the file and the line.
    """
    path = Path(path)
    try:
        require_plain(path, "label file")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"label file {path} does not exist") from None
    except OSError as error:
        raise DataError(f"cannot read label file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"label file {path} is not text (byte {error.start}): replace it by the original") from error
    quads, names, difficult, irregular, lines, problems = [], [], [], [], [], []
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.split()
        if not fields or (not lines and line.strip().lower().startswith(_HEADERS)):
            continue
        try:
            quad, name, flag = _object(fields, classes)
            odd = _shape(quad)
        except ValueError as error:
            problem = f"label file {path}, line {number}: {error}"
            if on_bad == "refuse":
                raise DataError(problem) from None
            problems.append(problem)
            continue
        quads.append(quad)
        names.append(name)
        difficult.append(flag)
        irregular.append(odd)
        lines.append(number)
    corners = np.array(quads, dtype=np.float64).reshape(-1, 8)
    return LabelFile(path, corners, names, np.array(difficult, bool), np.array(irregular, bool), lines, problems)


def _object(fields: list[str], classes: Collection[str] | None) -> tuple[list[float], str, bool]:
    """Returns (corners, name, difficult) of a line's fields; raises ValueError with what is wrong."""
    quad = [_coordinate(field, number) for number, field in enumerate(fields[:8], start=1)]
    if len(quad) < 8:
        raise ValueError(f"eight corner coordinates are needed before the class, but there are {len(quad)}")
    if len(fields) not in (9, 10):
        kind = "no class" if len(fields) == 8 else f"{len(fields)} fields"
        raise ValueError(f"{kind}, but a line is x1 y1 x2 y2 x3 y3 x4 y4 class difficulty (a name without spaces)")
    name, flag = fields[8], fields[9] if len(fields) == 10 else "0"
    if classes is not None and name not in classes:
        hint = did_you_mean(name, classes) or f"known are {', '.join(list(classes)[:20])}"
        raise ValueError(f"class {name!r} is not among the classes: {hint}")
    if not (flag.isascii() and flag.isdecimal()):
        raise ValueError(f"difficulty {flag!r} is not a whole number (0 easy, 1 difficult)")
    return quad, name, bool(flag.strip("0"))


def _coordinate(field: str, number: int) -> float:
    try:
        value = float(field.replace("_", "?"))  # float() reads 1_0 as 10
    except ValueError:
        raise ValueError(f"coordinate {number} is {field!r}: eight numbers are needed before the class") from None
    if not math.isfinite(value) or abs(value) > _MAX_COORDINATE:
        raise ValueError(f"coordinate {number} is {field}, which is no place in an image")
    return value


def _shape(quad: Sequence[float]) -> bool:
    """Returns whether the corners cross or are not convex; raises ValueError where they enclose nothing."""
    corners = list(zip(quad[::2], quad[1::2], strict=True))
    turns = []
    for number in range(4):  # twice the signed areas of all four triangles between corners
        (ax, ay), (bx, by), (cx, cy) = (corners[(number + step) % 4] for step in range(3))
        turns.append((bx - ax) * (cy - by) - (by - ay) * (cx - bx))
    if max(map(abs, turns)) < 2 * _MIN_AREA:
        raise ValueError("the four corners lie on one line: an object needs an area")
    return min(turns) < 0 < max(turns)


class ImagePair(NamedTuple):
    """An image and its label file, which share the name before the suffix."""

    image_id: str
    image: Path
    labels: Path | None  # None for a set without ground truth


def find_pairs(images: Path, labels: Path | None) -> tuple[list[ImagePair], list[str]]:
    """Returns the images of a folder with their label files, by name, and a sentence for each file without a partner.

    Raises:
        DataError: no such folder, or two images of one name.
    """
    for what, folder in (("image", images), ("label", labels)):
        if folder is not None and not folder.is_dir():
            raise DataError(f"no {what} folder {folder}: it does not exist or is not a folder")
    by_name: dict[str, Path] = {}
    for path in sorted(images.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            if path.stem in by_name:
                raise DataError(f"images {by_name[path.stem]} and {path.name} share a name: rename or remove one of them")
            by_name[path.stem] = path
    if labels is None:
        return [ImagePair(name, path, None) for name, path in by_name.items()], []
    texts = {path.stem: path for path in sorted(labels.glob("*.txt")) if not path.name.startswith(".")}
    problems = [
        f"image {path} has no label file {labels / name}.txt: add it, empty if nothing is on the image"
        for name, path in by_name.items()
        if name not in texts
    ]
    problems += [f"label file {path} has no image in {images}" for name, path in texts.items() if name not in by_name]
    return [ImagePair(name, path, texts[name]) for name, path in by_name.items() if name in texts], problems


def choose_classes(found: Iterable[str]) -> tuple[str, ...]:
    """Returns the classes of the first DOTA version that has all names found, in official order; else the sorted names.

    A name that is no DOTA class but nearly one, among others that are, gives a warning: it may be misspelt.
    """
    names = set(found)
    for official in DOTA_CLASSES.values():
        if names <= set(official):
            return official
    known = set(DOTA_CLASSES["2.0"])
    for name in sorted(names - known):
        hint = did_you_mean(name, known, cutoff=0.85)
        if hint and names & known:
            warnings.warn(f"class {name!r} is no DOTA class and becomes one of its own: {hint}", stacklevel=3)
    return tuple(sorted(names))


class DotaDataset:
    """Images of a folder with the oriented boxes of their label files; the image id is the file's name without suffix.

    Args:
        images, labels: folders; ``labels`` holds NAME.txt for every image, empty where nothing is on it.
        classes: names in label order; None takes those of the DOTA version that has all names found, or all names
            sorted. Official classes that a choice of official ones leaves out are passed over.
        training: leave out images without objects (``skip_empty``). Difficult objects are learned as any other, as in
            the published training; otherwise they are marked ``ignore``.
        on_bad: "refuse" raises on lines that cannot be used and files without partner, "skip" leaves them out and says
            so.

    Raises:
        DataError: nothing usable, or bad lines or files with ``on_bad`` "refuse".
    """

    rotated = True  # boxes are (G, 5)

    def __init__(
        self,
        images: str | Path,
        labels: str | Path,
        classes: Sequence[str] | None = None,
        *,
        training: bool = False,
        skip_empty: bool = True,
        on_bad: str = "refuse",
    ) -> None:
        folder = Path(labels)
        self.training = training
        self.reading = Reading()
        self.title = str(folder)
        pairs, problems = find_pairs(Path(images), folder)
        files = [read_label_file(pair.labels, vocabulary(classes), on_bad="skip") for pair in pairs]
        problems += [problem for file in files for problem in file.problems]
        _answer(problems, on_bad, folder)
        found = {name for file in files for name in file.names}
        self.classes = _checked(classes, found, folder) if classes is not None else choose_classes(found)
        label_of = {name: label for label, name in enumerate(self.classes)}
        odd = sum(int(file.irregular.sum()) for file in files)
        if odd:
            text = f"{odd} objects of {folder} have corners that cross or are not convex: their smallest rectangle is used"
            warnings.warn(text, stacklevel=2)

        kept = []
        for pair, file in zip(pairs, files, strict=True):
            objects = np.array([name in label_of for name in file.names], dtype=bool)
            if objects.any() or not (training and skip_empty):
                kept.append((pair, file, objects))
        if not kept:
            which = f" with objects of {', '.join(self.classes)}" if training and pairs else ""
            raise DataError(
                f"label folder {folder} has no images{which}: nothing to {'train' if training else 'evaluate'} on"
            )
        self.pairs = [pair for pair, _, _ in kept]
        # One tensor for all images: loader workers share it, where lists would be copied page by page.
        self._starts = np.cumsum([0] + [int(objects.sum()) for _, _, objects in kept])
        quads = np.concatenate([file.quads[objects] for _, file, objects in kept])
        self._boxes = to_le90(quads_to_rboxes(torch.from_numpy(quads))).to(torch.float32)
        names = [name for _, file, _ in kept for name in file.names if name in label_of]
        self._labels = torch.tensor([label_of[name] for name in names], dtype=torch.int64)
        self._difficult = torch.from_numpy(np.concatenate([file.difficult[objects] for _, file, objects in kept]))

    def __len__(self) -> int:
        return len(self.pairs)

    def image_files(self) -> list[tuple[Path, None]]:
        """Returns each image's file; label files do not say its size."""
        return [(pair.image, None) for pair in self.pairs]

    def load(self, index: int, whole: bool = False) -> Sample:
        """Returns image and target number ``index``.

        The target's ``boxes`` are (G, 5) float32 cx cy w h angle in the file's pixels and radians (le90, w >= h), plain:
        torchvision's box type has no such format in all versions that are supported. ``ignore`` marks difficult objects
        and is there in evaluation only. Of an image that is read reduced, they are in its pixels; ``whole`` prevents that.

        Raises:
            DataError: the image cannot be read; names the file.
        """
        pair = self.pairs[index]
        image, size = self.reading.read(index, pair.image, whole=whole)
        rows = slice(int(self._starts[index]), int(self._starts[index + 1]))
        target = {
            "boxes": self._boxes[rows].clone(),
            "labels": self._labels[rows].clone(),
            "meta": ImageMeta(pair.image_id, size, canvas_size=size, path=str(pair.image)),
        }
        if not self.training:
            target["ignore"] = self._difficult[rows].clone()
        found = image_size(image)
        return image, target if found == size else resize_objects(target, size, found)

    def truth(self, index: int) -> Targets:
        """Returns the objects of image number ``index`` without reading its pixels; difficult ones marked ``ignore``."""
        rows = slice(int(self._starts[index]), int(self._starts[index + 1]))
        boxes, labels, difficult = (part[rows].clone() for part in (self._boxes, self._labels, self._difficult))
        return Targets(boxes, labels, ignore=difficult, meta=ImageMeta(self.pairs[index].image_id))


def vocabulary(classes: Sequence[str] | None) -> list[str] | None:
    """Returns the names that label files may hold: a choice of official classes does not make the others wrong."""
    official = DOTA_CLASSES["2.0"]
    if classes is None or not set(classes) <= set(official):
        return None if classes is None else list(classes)
    return list(official)


def _checked(classes: Sequence[str], found: set[str], folder: Path) -> tuple[str, ...]:
    if not classes:
        raise DataError(f"no class chosen of label folder {folder}: name at least one")
    if len(set(classes)) < len(classes):
        raise DataError(f"classes name {Counter(classes).most_common(1)[0][0]!r} twice: name each class once")
    if found and not found & set(classes):
        listed = ", ".join(sorted(found)[:10])
        raise DataError(f"label folder {folder} has no object of {', '.join(classes)}: it has {listed}")
    return tuple(classes)


def _answer(problems: list[str], on_bad: str, folder: Path) -> None:
    if not problems:
        return
    listed = problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
    if on_bad == "refuse":
        raise DataError(
            f"{listed}; `rtmdet-lab data check` lists all, correct them or leave them out with data.on_bad=skip "
            "(--on-bad skip)"
        )
    warnings.warn(f"left out of {folder}: {listed}", stacklevel=3)
