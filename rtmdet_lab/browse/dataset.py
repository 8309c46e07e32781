"""A FiftyOne data set of annotated images and the detections of any number of runs on them.

The data set is called after the data and has one field per run. Putting the same things again changes nothing; what a user
tagged or edited in the App stays as long as the file it came from is the same.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtmdet_lab.analysis.errors import KINDS
from rtmdet_lab.browse.database import lock_path, open_database, staying_open
from rtmdet_lab.browse.labels import NUMBER, field_document, label_documents, list_name, plain
from rtmdet_lab.browse.match_results import KIND, Columns, wrong_rows
from rtmdet_lab.browse.saved_views import save_views
from rtmdet_lab.browse.source import Source, digest_of
from rtmdet_lab.browse.tile_links import window_fields
from rtmdet_lab.core.errors import DataError
from rtmdet_lab.core.locking import locked

TRUTH = "ground_truth"
INFO = "rtmdet_lab"  # our part of a data set's own notes
BATCH = 100  # images per write
FILLED_OPACITY = 0.2  # in the App: what lies beneath masks and outlines must stay visible, with hundreds side by side
TRUTH_COLOR, RUN_COLORS = "#00e676", ("#ff9100", "#ff4fd8", "#40c4ff", "#ffee58")
_EDITED = ("label", "bounding_box", "points", "mask")  # what the App lets a user change in a label
_TAKEN = {"id", "filepath", "tags", "metadata", "created_at", "last_modified_at", "image_id", TRUTH}

Progress = Callable[[int, int], None]  # images done, images in all

FILLING_S = 1800.0  # a large set is filled for minutes, and nothing outside the database shows it


def put(sources: Sequence[Source], name: str | None = None, progress: Progress | None = None) -> tuple[Any, list[str]]:
    """Puts ground truth and detections into a persistent data set and returns it, with sentences on what is not shown.

    Args:
        sources: runs on the same annotated images.
        name: of the data set; by default that of the data.
        progress: called after each batch of images.

    Raises:
        DataError: runs on different annotations, no image that exists, or a data set of that name with other data.
        DatabaseError: no database, or it ended meanwhile; the next call goes on with what is there.
    """
    first = sources[0]
    for other in sources[1:]:
        if other.truth.resolve() != first.truth.resolve():
            raise DataError(
                f"{other.path} was scored on {other.truth}, but {first.path} on {first.truth}: browse them one by one"
            )
    name = name or first.data
    notes = [note for source in sources for note in source.left_out]
    fiftyone = open_database()
    with locked(lock_path(f"set-{name}"), f"changing the set {name}", patience_s=FILLING_S), staying_open():
        dataset, changed = _open(fiftyone, name, first)
        missing = _put_images(fiftyone, dataset, sources, changed)
        notes += _about_missing(missing)
        if changed:
            notes.append(f"{first.truth} has changed since {name!r} was made: its labels and edits were replaced")
        total, done = sum(len(source.pairs) for source in sources), 0
        for source in sources:
            field = field_of(dataset, source)
            done = _put_run(fiftyone, dataset, source, field, changed, (done, total), progress)
            changed = False  # the labels are now those of the file as it is
        dataset.reload()
        _choose_colors(fiftyone, dataset)
        save_views(dataset, dataset.info[INFO]["runs"])
    return dataset, list(dict.fromkeys(notes))


def field_of(dataset: Any, source: Source) -> str:
    """Returns the field a run has or will have: its name, with its folder's or a few letters where that is taken."""
    runs = dataset.info[INFO]["runs"]
    path = str(source.path.resolve())
    for field, run in runs.items():
        if run["path"] == path:
            return field
    names = [source.name, f"{source.path.parent.parent.name}_{source.name}"]
    names.append(f"{source.name}_{hashlib.sha256(path.encode()).hexdigest()[:6]}")
    fields = [_identifier(one) for one in names]
    return next((field for field in fields if field not in runs and field not in _TAKEN), fields[-1])


def _identifier(name: str) -> str:
    """Returns a name FiftyOne takes for a field.

    >>> _identifier("k7, seed 0"), _identifier("7x7")
    ('k7_seed_0', 'run_7x7')
    """
    text = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    return text if text[:1].isalpha() else f"run_{text}"


def _open(fiftyone: Any, name: str, source: Source) -> tuple[Any, bool]:
    """Returns the data set, made if need be, and whether the annotations it was made from have changed."""
    truth, digest = str(source.truth.resolve()), digest_of(source.truth)
    if not fiftyone.dataset_exists(name):
        dataset = fiftyone.Dataset(name, persistent=True)
    else:
        dataset = fiftyone.load_dataset(name)
        dataset.reload()
    before = dataset.info.get(INFO)
    if before is None and len(dataset):
        raise DataError(f"FiftyOne already has a data set {name!r} that was not made here: choose another with --name")
    if before and (before["truth"] != truth or before["rotated"] != source.rotated):
        raise DataError(
            f"FiftyOne already has a data set {name!r}, of {before['truth']}, not of {truth}: choose another with --name"
        )
    if "image_id" not in dataset.get_field_schema():
        dataset.add_sample_field("image_id", fiftyone.StringField)
        dataset.create_index("image_id", unique=True)  # no second sample of an image, whoever writes
    changed = before is not None and before["digest"] != digest
    runs = before["runs"] if before else {}
    dataset.info[INFO] = {
        "truth": truth,
        "digest": before["digest"] if before else digest,  # the new one when its labels are written
        "rotated": source.rotated,
        "classes": list(source.classes),
        "runs": runs,
    }
    dataset.default_classes = list(source.classes)
    dataset.save()
    return dataset, changed


def _choose_colors(fiftyone: Any, dataset: Any) -> None:
    """Gives ground truth and runs colors that are seen on dark and on light images; those a user chose stay."""
    runs = dataset.info[INFO]["runs"]
    opacity = FILLED_OPACITY if any(run["kind"] != "bbox" for run in runs.values()) else 1.0
    scheme = dataset.app_config.color_scheme or fiftyone.ColorScheme(opacity=opacity, color_by="field")
    chosen = {one["path"] for one in scheme.fields or []}
    colors = {TRUTH: TRUTH_COLOR, **dict(zip(runs, itertools.cycle(RUN_COLORS)))}
    new = [{"path": field, "fieldColor": color} for field, color in colors.items() if field not in chosen]
    filled = {field for field, run in runs.items() if run["kind"] != "bbox"}
    if scheme.opacity == 1.0 and filled & {one["path"] for one in new}:  # the first masks, in a set that had boxes alone
        scheme.opacity = FILLED_OPACITY
    scheme.fields = [*(scheme.fields or []), *new]
    dataset.app_config.color_scheme = scheme
    dataset.save()


def _put_images(fiftyone: Any, dataset: Any, sources: Sequence[Source], changed: bool) -> list[str]:
    """Adds a sample per image that exists, by reference; returns the paths of the others."""
    pairs = {str(pair.image_id): pair for source in sources for pair in source.pairs}
    known = {document["image_id"]: document for document in collection_of(dataset).find({}, {"image_id": 1, "filepath": 1})}
    present = {key: str(Path(pair.path).resolve()) for key, pair in pairs.items() if pair.path and Path(pair.path).is_file()}
    missing = [pair.path or f"image {key}" for key, pair in pairs.items() if key not in present]
    if not present:
        raise DataError(
            f"none of the {len(pairs)} images of {sources[0].truth} exists, the first is {missing[0] if missing else '-'}"
        )
    moved = {key: path for key, path in present.items() if key in known and known[key]["filepath"] != path}
    if moved:
        dataset.set_values("filepath", {known[key]["_id"]: path for key, path in moved.items()}, key_field="id")
    if changed:
        dataset.delete_samples([str(known[key]["_id"]) for key in known if key not in pairs])
    new = []
    for key, path in present.items():
        if key not in known:
            height, width = pairs[key].size
            metadata = fiftyone.ImageMetadata(width=width, height=height)
            new.append(fiftyone.Sample(filepath=path, image_id=key, metadata=metadata, **window_fields(key)))
    if new:
        dataset.add_samples(new, progress=False)
    return missing


def _about_missing(missing: Sequence[str]) -> list[str]:
    if not missing:
        return []
    shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    return [f"{len(missing)} images are not where they should be and are not shown: {shown}"]


def _put_run(
    fiftyone: Any,
    dataset: Any,
    source: Source,
    field: str,
    changed: bool,
    progress_at: tuple[int, int],
    progress: Progress | None,
) -> int:
    """Writes the labels of one run, and what it says of the ground truth; returns how many images are done."""
    runs = dict(dataset.info[INFO]["runs"])
    digest = digest_of(source.path)
    same_run = runs.get(field, {}).get("digest") == digest
    _declare(fiftyone, dataset, source, field)
    collection = collection_of(dataset)
    ids = {document["image_id"]: document["_id"] for document in collection.find({}, {"image_id": 1})}
    done, total = progress_at
    for start in range(0, len(source.pairs), BATCH):
        numbers = range(start, min(start + BATCH, len(source.pairs)))
        keys = {str(source.pairs[number].image_id): number for number in numbers}
        wanted = {ids[key]: number for key, number in keys.items() if key in ids}
        updates = [
            _update(source, wanted[old["_id"]], field, old, keep_truth=not changed, keep_run=same_run)
            for old in collection.find({"_id": {"$in": list(wanted)}}, {TRUTH: 1, field: 1})
        ]
        if updates:
            collection.bulk_write(updates, ordered=False)
        done += len(numbers)
        if progress:
            progress(done, total)
    runs[field] = {
        "name": source.name,
        "path": str(source.path.resolve()),
        "digest": digest,
        "kind": source.kind,
    }
    dataset.info[INFO] = {**dataset.info[INFO], "digest": digest_of(source.truth), "runs": runs}
    dataset.save()
    return done


def _update(source: Source, number: int, field: str, old: Mapping[str, Any], keep_truth: bool, keep_run: bool) -> Any:
    """Returns the write that brings one sample up to date."""
    from pymongo import UpdateOne

    pair, rows, listed = source.pairs[number], source.rows[number], list_name(source.rotated)
    tag, told = missed_tag(field), {f"missed_{field}": rows.missed.tolist()}
    tags = [[tag] if one else [] for one in rows.missed]
    truth = label_documents(
        pair.truth, pair.size, source.classes, {**rows.truth, **told}, tags, label_key(source, pair.image_id, TRUTH)
    )
    tags = [[kind] for kind in rows.detections[KIND]]
    key = label_key(source, pair.image_id, field)
    detected = label_documents(pair.detections, pair.size, source.classes, rows.detections, tags, key)
    before = (old.get(TRUTH) or {}).get(listed) if keep_truth else None
    earlier = (old.get(field) or {}).get(listed) if keep_run else None
    wrong = wrong_rows(rows)
    values = {
        TRUTH: field_document(_merged(before, truth, {*rows.truth, *told}, {tag}), source.rotated),
        field: field_document(_merged(earlier, detected, set(rows.detections), set(KINDS)), source.rotated),
        f"{field}_missed": int(rows.missed.sum()),
        f"{field}_wrong": int(wrong.sum()),
        f"{field}_mistakes": float(rows.missed.sum() + np.asarray(pair.detections.scores)[wrong].sum()),
        "last_modified_at": datetime.datetime.now(datetime.UTC),
    }
    return UpdateOne({"_id": old["_id"]}, {"$set": values})


def label_key(source: Source, image_id: Any, field: str) -> str:
    """Returns what names the labels of one image's field, for :func:`~rtmdet_lab.browse.labels.label_id`."""
    return f"{source.truth.resolve()}/{image_id}/{field}"


def missed_tag(field: str) -> str:
    """Returns the tag of objects that a run did not find."""
    return f"missed by {field}"


def _merged(
    old: Sequence[Mapping[str, Any]] | None, fresh: list[dict[str, Any]], columns: set[str], tags: set[str]
) -> list[dict[str, Any]]:
    """Returns fresh labels with what a user made of the old ones: their places, classes and tags; deleted stay deleted.

    Args:
        columns, tags: attributes and tags that are ours and are replaced.
    """
    if old is None:
        return fresh
    new = {label[NUMBER]: label for label in fresh}
    merged = []
    for label in old:
        now = new.get(label.get(NUMBER, -1))
        if now is None:
            merged.append(dict(label))  # drawn in the App
            continue
        theirs = {name: value for name, value in label.items() if name in _EDITED or name not in columns}
        kept = [tag for tag in label.get("tags", []) if tag not in tags]
        merged.append({**now, **theirs, "tags": kept + now["tags"]})
    return merged


def _declare(fiftyone: Any, dataset: Any, source: Source, field: str) -> None:
    """Tells FiftyOne the fields and their types; it shows only what it was told of."""
    kind = fiftyone.Polylines if source.rotated else fiftyone.Detections
    listed = list_name(source.rotated)
    known = dataset.get_field_schema(flat=True)
    types = {bool: fiftyone.BooleanField, int: fiftyone.IntField, float: fiftyone.FloatField, str: fiftyone.StringField}
    columns: dict[str, tuple[list[Columns], dict[str, type]]] = {
        TRUTH: ([rows.truth for rows in source.rows], {NUMBER: int, f"missed_{field}": bool}),
        field: ([rows.detections for rows in source.rows], {NUMBER: int, "confidence": float}),
    }
    for name, (images, wanted) in columns.items():
        if name not in known:
            dataset.add_sample_field(name, fiftyone.EmbeddedDocumentField, embedded_doc_type=kind)
        for image in images:
            for column, values in image.items():
                if column not in wanted:
                    value = next((value for value in map(plain, values) if value is not None), None)
                    if value is not None:
                        wanted[column] = type(value)
        for column, python in wanted.items():
            if f"{name}.{listed}.{column}" not in known:
                dataset.add_sample_field(f"{name}.{listed}.{column}", types[python])
    for suffix, python in (("missed", int), ("wrong", int), ("mistakes", float)):
        if f"{field}_{suffix}" not in known:
            dataset.add_sample_field(f"{field}_{suffix}", types[python])


def collection_of(dataset: Any) -> Any:
    """Returns the data set's collection of samples in the database."""
    import fiftyone.core.odm as odm

    return odm.get_db_conn()[dataset._sample_collection_name]
