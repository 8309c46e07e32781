"""A data set whose folders are its classes: IMAGES/CLASS/image.jpg, as ImageNet is unpacked."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rtmdet_lab.config.settings import DataConfig
from rtmdet_lab.core.errors import DataError, did_you_mean
from rtmdet_lab.core.structures import ImageMeta
from rtmdet_lab.data.folders import visible_files
from rtmdet_lab.data.formats import DataFormat
from rtmdet_lab.data.images import IMAGE_SUFFIXES, read_image
from rtmdet_lab.data.reading import Reading
from rtmdet_lab.data.records import PackedText
from rtmdet_lab.transforms.base import Sample, as_boxes, image_size


class ClassFolders:
    """The images below a folder, each with the class that its own folder is named after.

    Hidden files and folders are passed over, and so are files that are no images.

    Args:
        images: folder with one folder for each class.
        classes: names in label order; None takes all folders, by name.
        of_another_set: ``classes`` are those of other data or of weights: some may be missing here, and folders of other
            names are left out and counted.

    Raises:
        DataError: no folder, no class, a class without a folder or without images; names it.
    """

    category_ids = ()  # there is no annotation file

    def __init__(self, images: str | Path, classes: Sequence[str] | None = None, *, of_another_set: bool = False) -> None:
        folder = Path(images)
        found = {name: visible_files(path, IMAGE_SUFFIXES) for name, path in class_folders(folder).items()}
        self.title = str(folder)
        self.reading = Reading()
        self.classes = tuple(found) if classes is None else tuple(classes)
        if len(set(self.classes)) < len(self.classes):
            raise DataError(f"classes name {Counter(self.classes).most_common(1)[0][0]!r} twice: name each class once")
        self.others = Counter({name: len(files) for name, files in found.items() if name not in self.classes})
        for name in self.classes:
            if name not in found and not of_another_set:
                raise DataError(f"folder {folder} has no class {name!r}: {did_you_mean(name, found)}".rstrip(": "))
            if name in found and not found[name]:
                raise DataError(
                    f"class folder {folder / name} holds no image: add some or leave the class out (data.classes)"
                )
        pairs = [(path, label) for label, name in enumerate(self.classes) for path in found.get(name, ())]
        if not pairs:
            raise DataError(
                f"folder {folder} has none of the classes {', '.join(self.classes[:10])}: it has {', '.join(found)}"
            )
        self.folder = folder
        self._names = PackedText(str(path.relative_to(folder)) for path, _ in pairs)  # flat: loader processes share it
        self._labels = np.array([label for _, label in pairs], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._names)

    def class_counts(self) -> Counter:
        """Returns how many images each class has, by name."""
        counts = np.bincount(self._labels, minlength=len(self.classes))
        return Counter({name: int(count) for name, count in zip(self.classes, counts, strict=True) if count})

    def absent(self) -> tuple[str, ...]:
        """Returns the classes without a folder here."""
        present = self.class_counts()
        return tuple(name for name in self.classes if not present[name])

    def image_files(self) -> list[tuple[Path, None]]:
        """Returns each image's file; nothing says its size."""
        return [(self.folder / name, None) for name in self._names]

    def load(self, index: int, whole: bool = False) -> Sample:
        """Returns image number ``index`` and its target: one label, and as its box the whole image.

        Raises:
            DataError: the image cannot be read; names the file.
        """
        name = self._names[index]
        path = self.folder / name
        image, size = self.reading.read(index, path, whole=whole)
        height, width = image_size(image)
        meta = ImageMeta(name, size, canvas_size=size, path=str(path))
        boxes = as_boxes(torch.tensor([[0.0, 0.0, width, height]]), (height, width))
        return image, {"boxes": boxes, "labels": torch.tensor([int(self._labels[index])]), "meta": meta}


def class_folders(folder: Path) -> dict[str, Path]:
    """Returns the folders below a folder by name, hidden ones left out.

    Raises:
        DataError: no such folder, or none below it.
    """
    if not folder.is_dir():
        raise DataError(f"no image folder {folder}: it does not exist or is not a folder")
    try:
        below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot list folder {folder}: {error.strerror}") from error
    if not below:
        raise DataError(f"folder {folder} has no folders, which are the classes of a classification set: make one for each")
    return {path.name: path for path in below}


def find_class_folders(folder: Path) -> dict[str, str]:
    """Returns the ``data.*`` settings of a folder with ``train`` and ``val``.

    Raises:
        DataError: one of the two is not there.
    """
    for split in ("train", "val"):
        if not (folder / split).is_dir():
            raise DataError(f"{folder} has no {split} set in a known layout ({split}/CLASS): name the two paths instead")
    return {f"data.{split}_images": str(folder / split) for split in ("train", "val")}


def check_class_folders(images: Path, workers: int = 2, progress: bool = True) -> dict[str, Any]:
    """Returns what is in a set and what is wrong with it, as :func:`~rtmdet_lab.data.check.check_coco` does."""
    counts, problems = Counter(), []
    for name, path in class_folders(images).items():
        files = visible_files(path, IMAGE_SUFFIXES)
        counts[name] = len(files)
        if not files:
            problems.append(f"class folder {path} holds no image")
        for file in files:
            try:
                read_image(file)
            except DataError as error:
                problems.append(str(error))
    return {
        "images": counts.total(),
        "objects": counts.total(),
        "classes": [{"class": name, "objects": count} for name, count in counts.items()],
        "left_out": {},
        "problems": problems,
        "doubts": [],
        "notes": [],
    }


def _train(data: DataConfig, polygons: bool) -> ClassFolders:
    return ClassFolders(data.train_images, data.classes)


def _scored(images: Path, annotations: Path | None, classes: Sequence[str], on_bad: str, masks: bool) -> ClassFolders:
    return ClassFolders(images, classes, of_another_set=True)


def _print_of(images: Path, annotations: str) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for name, path in class_folders(images).items():
        for file in visible_files(path, IMAGE_SUFFIXES):
            digest.update(f"{name}/{file.name}\0{file.stat().st_size}\0".encode())
    return digest.hexdigest()


CLASS_FOLDERS = DataFormat(
    "folders", ("train_images", "val_images"), find_class_folders, _train, _scored, _print_of, check_class_folders
)
