"""Reads what a run found, and what was annotated, from its folder or from files: COCO results or rotated boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask

from rtmdet_lab.browse.source import Source
from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import DataConfig
from rtmdet_lab.core.errors import DataError, UserError
from rtmdet_lab.core.files import read_json
from rtmdet_lab.data.coco_file import CocoFile, read_coco
from rtmdet_lab.data.dota import choose_classes, find_pairs
from rtmdet_lab.data.images import image_header
from rtmdet_lab.data.label_file import read_label_file
from rtmdet_lab.data.segmentation import decode_segmentation
from rtmdet_lab.evaluation.coco_files import read_results
from rtmdet_lab.evaluation.dota_files import from_rotated_results
from rtmdet_lab.evaluation.matching import ImagePair, Kind, Objects
from rtmdet_lab.experiment.record import RECORD_NAME, read_record
from rtmdet_lab.experiment.run import PREDICTIONS_NAME
from rtmdet_lab.geometry.rotated import quads_to_rboxes, to_le90


def read_run(folder: Path, images: Path | None = None, annotations: Path | None = None) -> Source:
    """Returns the validation detections of a run folder.

    Args:
        images, annotations: where the validation set is, if it is no longer where the run had it.

    Raises:
        DataError: no record, no detections, or annotations that cannot be read.
    """
    folder = Path(folder)
    record = read_record(folder)
    if not (folder / PREDICTIONS_NAME).is_file():
        raise DataError(f"run {folder} has no {PREDICTIONS_NAME}: train it again, or with --resume, to its end")
    wanted = ("val_images", "val_annotations", "classes")
    written = record.config.get("data", {})
    try:
        data = with_overrides(DataConfig(), {name: written[name] for name in wanted if name in written})
    except UserError as error:
        raise DataError(f"{folder / RECORD_NAME} does not say what was scored (data): {error}") from None
    places = {}
    for what, given in (("images", images), ("annotations", annotations)):
        places[what] = given or _place(folder, getattr(data, f"val_{what}"), what)
    return read_predictions(
        folder / PREDICTIONS_NAME, places["images"], places["annotations"], data.classes, folder.resolve().name
    )


def _place(folder: Path, written: str, what: str) -> Path:
    """Returns where a path of a run's record is: it was relative to the folder that the run was started in."""
    if not written:
        raise DataError(f"run {folder} does not say what it was scored on (data.val_{what}): say it with --{what}")
    for base in (Path(), *folder.resolve().parents):
        if (base / written).exists():
            return base / written
    raise DataError(f"run {folder} was scored on {written}, which is not there: say with --{what} where it is now")


def read_predictions(
    predictions: Path, images: Path, annotations: Path, classes: Sequence[str] | None = None, name: str | None = None
) -> Source:
    """Returns the detections of a file on an annotated set.

    Args:
        predictions: COCO results, with masks or without; for a folder of label files, what rotated runs leave.
        annotations: COCO file, or folder of DOTA label files.
        classes: names to look at; None: all of the annotations.
        name: of the run; by default the file's.
    """
    annotations, images, predictions = Path(annotations), Path(images), Path(predictions)
    results = read_json(predictions, "results file")
    if not isinstance(results, list):
        raise DataError(f"results file {predictions}: a {type(results).__name__}, but a list of detections is needed")
    read = _read_rotated if annotations.is_dir() else _read_coco
    pairs, names, kind, left_out = read(results, predictions, images, annotations, classes)
    run = name or predictions.stem
    return Source(run, data_name(annotations), annotations, predictions, pairs, names, kind, left_out)


def data_name(annotations: Path) -> str:
    """Returns what a set is called, from where its annotations are.

    >>> data_name(Path("data/scenes/annotations/instances_val.json")), data_name(Path("data/aerial/val/labelTxt"))
    ('scenes instances_val', 'aerial val')
    """
    path = annotations.resolve()
    if path.suffix:
        folder = path.parent.parent if path.parent.name == "annotations" else path.parent
        return f"{folder.name} {path.stem}"
    return f"{path.parent.parent.name} {path.parent.name}"


def _known(
    results: list[Any], file: Path, images: set[Any], classes: set[Any], key: str
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Returns the results of known images and classes, and a sentence for each sort of the others."""
    kept: list[Mapping[str, Any]] = []
    strange_images: Counter[str] = Counter()
    strange_classes: Counter[str] = Counter()
    for number, one in enumerate(results, start=1):
        named = isinstance(one, Mapping) and all(isinstance(one.get(name), (int, str)) for name in ("image_id", key))
        if not named:
            raise DataError(f"results file {file}, result number {number}: has no image_id or no {key}, as number or text")
        if one["image_id"] not in images:
            strange_images[str(one["image_id"])] += 1
        elif one[key] not in classes:
            strange_classes[str(one[key])] += 1
        else:
            kept.append(one)
    left_out = []
    for what, strange in (("images", strange_images), ("classes", strange_classes)):
        if strange:
            shown = ", ".join(list(strange)[:5]) + (", ..." if len(strange) > 5 else "")
            left_out.append(f"{strange.total()} detections of {file} are of {what} that the set does not have: {shown}")
    return kept, left_out


def _read_coco(
    results: list[Any], predictions: Path, images: Path, annotations: Path, classes: Sequence[str] | None
) -> tuple[list[ImagePair], tuple[str, ...], Kind, list[str]]:
    masks = any(isinstance(one, Mapping) and "segmentation" in one for one in results)
    kind: Kind = "segm" if masks else "bbox"
    file = read_coco(annotations, classes or None, segmentations=masks, of_another_set=bool(classes))
    # Sizes: of the file, or of the image where the file does not say.
    sizes, left_out = {}, list(file.problems)
    for record in file.images:
        path = images / record.file_name
        size = record.size or (image_header(path) if path.is_file() else None)
        if size is None:
            left_out.append(f"image {path} does not exist and {annotations} does not say its size: it is not shown")
        else:
            sizes[record.image_id] = (int(size[0]), int(size[1]))
    kept, strange = _known(results, predictions, set(sizes), set(file.category_ids), "category_id")
    truth = {
        "images": [{"id": key, "height": size[0], "width": size[1]} for key, size in sizes.items()],
        "categories": [{"id": one} for one in file.category_ids if one is not None],
    }
    read_results(kept, truth, ("bbox", kind) if masks else (kind,))
    by_image: dict[Any, list[Mapping[str, Any]]] = {key: [] for key in sizes}
    for one in kept:
        by_image[one["image_id"]].append(one)
    pairs = [
        ImagePair(
            record.image_id,
            str(images / record.file_name),
            sizes[record.image_id],
            _coco_truth(record, sizes[record.image_id], masks),
            _coco_found(by_image[record.image_id], file, masks),
        )
        for record in file.images
        if record.image_id in sizes
    ]
    return pairs, file.classes, kind, left_out + strange


def _coco_truth(record: Any, size: tuple[int, int], masks: bool) -> Objects:
    boxes = np.array(record.boxes, dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] -= boxes[:, :2]
    shown = None
    if masks:
        drawn = [decode_segmentation(one, size) for one in record.segmentations]
        shown = [coco_mask.encode(np.asfortranarray(one, dtype=np.uint8)) for one in drawn]
    return Objects(
        boxes,
        np.array(record.labels, dtype=np.int64),
        masks=shown,
        ignore=np.array(record.crowd, bool),
        areas=np.array(record.areas),
        ids=record.ids,
    )


def _coco_found(results: Sequence[Mapping[str, Any]], file: CocoFile, masks: bool) -> Objects:
    label_of = {category: label for label, category in enumerate(file.category_ids)}
    return Objects(
        np.array([one["bbox"] for one in results], dtype=np.float64).reshape(-1, 4),
        np.array([label_of[one["category_id"]] for one in results], dtype=np.int64),
        np.array([one["score"] for one in results], dtype=np.float64),
        [one["segmentation"] for one in results] if masks else None,
    )


def _read_rotated(
    results: list[Any], predictions: Path, images: Path, annotations: Path, classes: Sequence[str] | None
) -> tuple[list[ImagePair], tuple[str, ...], Kind, list[str]]:
    found_pairs, left_out = find_pairs(images, annotations)
    files = {pair.image_id: read_label_file(str(pair.labels), on_bad="skip") for pair in found_pairs}
    left_out += [problem for file in files.values() for problem in file.problems]
    names = tuple(classes or choose_classes(name for file in files.values() for name in file.names))
    kept, strange = _known(results, predictions, set(files), set(names), "class")
    detections = from_rotated_results(kept, list(files), names)
    pairs = []
    for pair, found in zip(found_pairs, detections, strict=True):
        file = files[pair.image_id]
        chosen = np.array([name in names for name in file.names], dtype=bool)
        boxes = to_le90(quads_to_rboxes(torch.from_numpy(file.quads[chosen]))).numpy()
        labels = [names.index(name) for name in file.names if name in names]
        pairs.append(
            ImagePair(
                pair.image_id,
                str(pair.image),
                image_header(pair.image),
                Objects(
                    boxes,
                    np.array(labels, dtype=np.int64),
                    ignore=file.difficult[chosen],
                    ids=np.array(file.lines, dtype=int)[chosen].tolist(),
                ),
                Objects(found.boxes.numpy(), found.labels.numpy(), found.scores.numpy()),
            )
        )
    return pairs, names, "rotated", left_out + strange
