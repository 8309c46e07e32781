"""A data set of images and DOTA label files, as DOTA and HRSC have them: what belongs together, the classes, the boxes."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from rtmdet_lab.core.errors import DataError, did_you_mean
from rtmdet_lab.core.structures import ImageMeta, Targets
from rtmdet_lab.data.coco_file import OUTSIDE, THIN
from rtmdet_lab.data.folders import visible_files
from rtmdet_lab.data.foreign import name_folder
from rtmdet_lab.data.images import IMAGE_SUFFIXES, WholeImages, peek_size
from rtmdet_lab.data.label_file import LabelFile, read_label_file
from rtmdet_lab.data.plausibility import judge_places
from rtmdet_lab.data.records import PackedText
from rtmdet_lab.geometry.rotated import quads_to_rboxes, to_le90
from rtmdet_lab.transforms.base import Sample, image_size
from rtmdet_lab.transforms.geometric import resize_objects

_V10 = (
    *("plane", "baseball-diamond", "bridge", "ground-track-field", "small-vehicle", "large-vehicle", "ship", "tennis-court"),
    *("basketball-court", "storage-tank", "soccer-ball-field", "roundabout", "harbor", "swimming-pool", "helicopter"),
)
DOTA_CLASSES = {"1.0": _V10, "1.5": (*_V10, "container-crane"), "2.0": (*_V10, "container-crane", "airport", "helipad")}


class ImagePair(NamedTuple):
    """An image and its label file, which share the name before the suffix."""

    image_id: str
    image: Path
    labels: Path | None  # None for a set without ground truth


def find_pairs(images: Path, labels: Path | None) -> tuple[list[ImagePair], list[str]]:
    """Returns the images of a folder with their label files, by name, and a sentence for each file without a partner.

    Raises:
        DataError: no such folder, two images of one name, or no label file for any image.
    """
    for what, folder in (("image", images), ("label", labels)):
        if folder is not None and not folder.is_dir():
            raise DataError(f"no {what} folder {folder}: it does not exist or is not a folder")
    by_name: dict[str, Path] = {}
    for path in visible_files(images, IMAGE_SUFFIXES):
        if path.stem in by_name:
            raise DataError(f"images {by_name[path.stem]} and {path.name} share a name: rename or remove one of them")
        by_name[path.stem] = path
    if labels is None:
        return [ImagePair(name, path, None) for name, path in by_name.items()], []
    texts = {path.stem: path for path in visible_files(labels, (".txt",))}
    if by_name and not by_name.keys() & texts.keys():
        kind = name_folder(labels) or f": name the folder with {next(iter(by_name))}.txt and the others"
        raise DataError(f"label folder {labels} has no label file for any image of {images}{kind}")
    problems = [
        f"image {path} has no label file {labels / name}.txt: add it, empty if nothing is on the image"
        for name, path in by_name.items()
        if name not in texts
    ]
    problems += [f"label file {path} has no image in {images}" for name, path in texts.items() if name not in by_name]
    return [ImagePair(name, path, texts[name]) for name, path in by_name.items() if name in texts], problems


@dataclass
class LabelledImages:
    """What a folder of images and one of label files hold together, before classes are chosen."""

    pairs: list[ImagePair]
    files: list[LabelFile]  # as many
    boxes: list[torch.Tensor]  # per image (G, 5) float32, le90, of all its lines
    reasons: list[list[str | None]]  # per image and object: why it cannot be learned, None: it can
    problems: list[str]  # files without partner and lines that cannot be used, one sentence each
    doubts: list[str]  # what may be wrong

    @property
    def dropped(self) -> Counter:
        """Counts objects that cannot be learned by their reason."""
        return Counter(reason for reasons in self.reasons for reason in reasons if reason)


def read_labelled(images: Path, labels: Path, classes: Sequence[str] | None = None) -> LabelledImages:
    """Returns the content of a set, checked; checks, training and scoring read it here.

    Args:
        classes: names that label files may hold, as :func:`vocabulary` has them; None takes all.

    Raises:
        DataError: not usable as a whole: no such folder, files of another tool, objects that lie outside their images.
    """
    pairs, problems = find_pairs(images, labels)
    files = [read_label_file(pair.labels, vocabulary(classes), on_bad="skip") for pair in pairs]
    bad = [problem for file in files for problem in file.problems]
    kind = name_folder(labels) if bad and not any(file.names for file in files) else ""
    if kind:
        raise DataError(f"label folder {labels} has no DOTA label files{kind}")
    boxes = [to_le90(quads_to_rboxes(torch.from_numpy(file.quads))).to(torch.float32) for file in files]
    sizes = [peek_size(pair.image, file.reach) or (np.nan, np.nan) for pair, file in zip(pairs, files, strict=True)]
    refusal, doubts = _judge(files, sizes)
    if refusal:
        raise DataError(f"label folder {labels}: {refusal}")
    reasons = [_reasons(*one) for one in zip(files, boxes, sizes, strict=True)]
    return LabelledImages(pairs, files, boxes, reasons, problems + bad, doubts)


def _judge(files: Sequence[LabelFile], sizes: Sequence[tuple[float, float]]) -> tuple[str | None, list[str]]:
    around = np.concatenate([file.around for file in files]) if files else np.zeros((0, 4))
    around[:, 2:] -= around[:, :2]
    counts = [len(file.names) for file in files]
    verdict = judge_places(around, np.repeat(np.array(sizes, dtype=np.float64).reshape(-1, 2), counts, axis=0))
    return verdict.refusal, verdict.doubts


def _reasons(file: LabelFile, boxes: torch.Tensor, size: tuple[float, float]) -> list[str | None]:
    x1, y1, x2, y2 = file.around.T
    outside = (x1 >= size[1]) | (y1 >= size[0]) | (x2 <= 0) | (y2 <= 0)  # NaN compares false
    thin = boxes[:, 2:4].min(1).values.numpy() < 1 if len(boxes) else np.zeros(0, bool)
    return [OUTSIDE if out else THIN if flat else None for out, flat in zip(outside, thin, strict=True)]


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
        of_another_set: ``classes`` are those of other data or of weights: objects of other names are left out.

    Raises:
        DataError: nothing usable, or bad lines or files with ``on_bad`` "refuse".
    """

    category_ids = ()  # label files have none

    def __init__(
        self,
        images: str | Path,
        labels: str | Path,
        classes: Sequence[str] | None = None,
        *,
        training: bool = False,
        skip_empty: bool = True,
        on_bad: str = "refuse",
        of_another_set: bool = False,
    ) -> None:
        folder = Path(labels)
        self.training = training
        self.reading = WholeImages()
        self.title = str(folder)
        read = read_labelled(Path(images), folder, None if of_another_set else classes)
        _answer(read.problems, on_bad, folder)
        for doubt in read.doubts:
            warnings.warn(f"label folder {folder}: {doubt}", stacklevel=2)
        found = {name for file in read.files for name in file.names}
        self.classes = _checked(classes, found, folder) if classes is not None else choose_classes(found)
        label_of = {name: label for label, name in enumerate(self.classes)}
        # Objects of the names that were not chosen, by name.
        self.others = Counter(name for file in read.files for name in file.names if name not in label_of)
        odd = sum(int(file.irregular.sum()) for file in read.files)
        if odd:
            text = f"{odd} objects of {folder} have corners that cross or are not convex: their smallest rectangle is used"
            warnings.warn(text, stacklevel=2)
        if training and read.dropped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in read.dropped.items())
            warnings.warn(f"objects of {folder} that cannot be learned were left out: {reasons}", stacklevel=2)

        kept = []
        for pair, file, boxes, reasons in zip(read.pairs, read.files, read.boxes, read.reasons, strict=True):
            chosen = [name in label_of for name in file.names]
            if training:
                chosen = [one and reason is None for one, reason in zip(chosen, reasons, strict=True)]
            objects = np.array(chosen, dtype=bool)
            if objects.any() or not (training and skip_empty):
                kept.append((pair, file, boxes, objects))
        if not kept:
            which = f" with objects of {', '.join(self.classes)}" if training and read.pairs else ""
            raise DataError(
                f"label folder {folder} has no images{which}: nothing to {'train' if training else 'evaluate'} on"
            )
        # Flat, so that loader processes share it (see data/records.py).
        self.image_ids = PackedText(pair.image_id for pair, *_ in kept)
        self._images = PackedText(str(pair.image) for pair, *_ in kept)
        self._reaches = np.array([file.reach or (np.nan, np.nan) for _, file, *_ in kept]).reshape(-1, 2)
        self._starts = np.cumsum([0] + [int(objects.sum()) for *_, objects in kept])
        self._boxes = torch.cat([boxes[torch.from_numpy(objects)] for *_, boxes, objects in kept])
        names = [file.names[row] for _, file, _, objects in kept for row in np.flatnonzero(objects)]
        self._labels = torch.tensor([label_of[name] for name in names], dtype=torch.int64)
        self._difficult = torch.from_numpy(np.concatenate([file.difficult[objects] for _, file, _, objects in kept]))

    def class_counts(self) -> Counter:
        """Returns how many objects each class has, by name."""
        return Counter(self.classes[label] for label in self._labels.tolist())

    def absent(self) -> tuple[str, ...]:
        """Returns the classes that no object has."""
        present = self.class_counts()
        return tuple(name for name in self.classes if not present[name])

    def __len__(self) -> int:
        return len(self.image_ids)

    def image_files(self) -> list[tuple[Path, None]]:
        """Returns each image's file; label files do not say its size."""
        return [(Path(image), None) for image in self._images]

    def load(self, index: int, whole: bool = False) -> Sample:
        """Returns image and target number ``index``.

        The target's ``boxes`` are (G, 5) float32 cx cy w h angle in the file's pixels and radians (le90, w >= h), plain:
        torchvision's box type has no such format in all versions that are supported. ``ignore`` marks difficult objects
        and is there in evaluation only. Of an image that is read reduced, they are in its pixels; ``whole`` prevents that.

        Raises:
            DataError: the image cannot be read; names the file.
        """
        path, reach = self._images[index], self._reaches[index]
        reach = None if np.isnan(reach[0]) else (float(reach[0]), float(reach[1]))
        image, size = self.reading.read(index, Path(path), whole=whole, reach=reach)
        rows = slice(int(self._starts[index]), int(self._starts[index + 1]))
        target = {
            "boxes": self._boxes[rows].clone(),
            "labels": self._labels[rows].clone(),
            "meta": ImageMeta(self.image_ids[index], size, canvas_size=size, path=path),
        }
        if not self.training:
            target["ignore"] = self._difficult[rows].clone()
        found = image_size(image)
        return image, target if found == size else resize_objects(target, size, found)

    def truth(self, index: int) -> Targets:
        """Returns the objects of image number ``index`` without reading its pixels; difficult ones marked ``ignore``."""
        rows = slice(int(self._starts[index]), int(self._starts[index + 1]))
        boxes, labels, difficult = (part[rows].clone() for part in (self._boxes, self._labels, self._difficult))
        return Targets(boxes, labels, ignore=difficult, meta=ImageMeta(self.image_ids[index]))


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
