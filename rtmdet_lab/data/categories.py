"""The classes of a COCO file: names and ids, without the roots and twins that exports add and nothing is annotated with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rtmdet_lab.core.errors import DataError, did_you_mean
from rtmdet_lab.core.fields import is_id, shown


def read_categories(
    path: Path, categories: list, annotations: list, chosen: Sequence[str] | None
) -> tuple[dict[int, str], list[str]]:
    """Returns the name of each category id, in the file's order, and a sentence per category that is left out.

    Left out are categories without objects that have the name of another one, or that only are the supercategory of others
    (the root that some exports add), unless ``chosen`` names them.

    Raises:
        DataError: no usable categories, or two of one name that both have objects; names the file and the ids.
    """
    _check(path, categories)
    counts = Counter(one["category_id"] for one in annotations if isinstance(one, dict) and is_id(one.get("category_id")))
    by_name: dict[str, list[int]] = {}
    for entry in categories:
        by_name.setdefault(str(entry["name"]), []).append(entry["id"])
    roots = _roots(categories) - set(chosen or ())
    names: dict[int, str] = {}
    notes = []
    for entry in categories:
        number, name = entry["id"], str(entry["name"])
        used = [one for one in by_name[name] if counts[one]]
        if len(used) > 1:
            listed = ", ".join(f"id {one} with {counts[one]} objects" for one in used)
            raise DataError(
                f"annotation file {path} has category {name!r} more than once ({listed}): give each its own name, or all "
                "objects of one the same category_id"
            )
        if number != (used or by_name[name])[0]:
            notes.append(f"category {name!r} (id {number}) has no objects and the name of another: it is left out")
        elif not used and name in roots:
            notes.append(f"category {name!r} (id {number}) has no objects and only groups others: it is left out")
        else:
            names[number] = name
    return names, notes


def choose_categories(
    path: Path, names: Mapping[int, str], classes: Sequence[str] | None, of_another_set: bool = False
) -> tuple[int | None, ...]:
    """Returns the ids of ``classes`` in their order, or of all categories.

    Args:
        of_another_set: some classes may be missing, not all; they have no id.

    Raises:
        DataError: a class that the file does not have, or one named twice.
    """
    if classes is None:
        return tuple(names)
    ids = {name: category_id for category_id, name in names.items()}
    known = ", ".join(list(ids)[:10]) + (", ..." if len(ids) > 10 else "")
    missing = [name for name in classes if name not in ids]
    if of_another_set and len(missing) == len(classes):
        raise DataError(f"annotation file {path} has none of the classes {', '.join(missing[:10])}: it has {known}")
    if missing and not of_another_set:
        # What is chosen, too, cannot be what was meant.
        hint = did_you_mean(missing[0], set(ids) - set(classes), cutoff=0.75)
        raise DataError(f"annotation file {path} has no class {missing[0]!r}: {f'{hint} it has {known}'.lstrip()}")
    if len(set(classes)) < len(classes):
        raise DataError(f"classes name {Counter(classes).most_common(1)[0][0]!r} twice: name each class once")
    return tuple(ids.get(name) for name in classes)


def _check(path: Path, categories: list) -> None:
    if not categories:
        raise DataError(
            f"annotation file {path} has no categories: add one per class, {{'id': 1, 'name': ...}}, and a category_id to "
            "each annotation"
        )
    seen: set[int] = set()
    for number, entry in enumerate(categories):
        if not isinstance(entry, dict) or not is_id(entry.get("id")) or not isinstance(entry.get("name"), (str, int)):
            raise DataError(
                f"annotation file {path}: category number {number} ({shown(entry)}) needs an id (whole number) and a name"
            )
        if entry["id"] in seen:
            raise DataError(f"annotation file {path} has category id {entry['id']} twice: make the ids unique")
        seen.add(entry["id"])


def _roots(categories: list) -> set[str]:
    """Returns the names that other categories have as their supercategory and that stand above all themselves."""
    groups = Counter(one["supercategory"] for one in categories if isinstance(one.get("supercategory"), str))
    roots = set()
    for entry in categories:
        name, above = entry["name"], entry.get("supercategory")
        below = groups[name] - (above == name)
        if below and above in (None, "", "none", name):
            roots.add(str(name))
    return roots
