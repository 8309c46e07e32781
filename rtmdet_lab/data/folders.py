"""Files of a folder, and the images that an annotation file names by a path that does not fit the folder as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from rtmdet_lab.core.errors import DataError

_LOOKED_AT = 20  # names that decide how all are read


def visible_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Returns the files of a folder with one of the suffixes (".jpg"), by name.

    Hidden ones are passed over: macOS puts a "._NAME" beside each file that it packs, which has the suffix and no image.

    Raises:
        DataError: the folder cannot be listed.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot list folder {folder}: {error.strerror}") from error
    return [path for path in paths if path.suffix.lower() in suffixes and not path.name.startswith(".")]


def fit_names(folder: Path, names: Sequence[str]) -> tuple[list[str], str | None]:
    """Returns the names of images as paths below ``folder``, and how they were changed, or None where they are as given.

    Annotation files say "images/a.jpg" beside a folder images, or "train\\\\a.jpg" where they come from Windows. Names are
    changed where none of the first ones is there as it is written, in the way that finds most of them.
    """
    looked_at = names[:_LOOKED_AT]
    if not names or any(_exists(folder, name) for name in looked_at):
        return [_slashed(folder, name) for name in names], None
    below = _only_folder_with(folder, looked_at)
    ways: list[tuple[str, Callable[[str], str]]] = [
        ("with / for \\", _slashes),
        ("without the folder that they begin with", lambda name: _without_overlap(folder, name)),
        (f"below {below}", lambda name: f"{below}/{_slashes(name)}"),
        ("by their last part alone", lambda name: PurePosixPath(_slashes(name)).name),
    ]
    there = [sum(_exists(folder, change(name)) for name in looked_at) for _, change in ways]
    how, change = ways[there.index(max(there))]
    changed = [change(name) for name in names]
    if not max(there) or len(set(changed)) < len(set(names)):
        return list(names), None
    return changed, f"images such as {names[0]!r} are not in {folder}: they are read {how}, as {changed[0]!r}"


def _slashed(folder: Path, name: str) -> str:
    return _slashes(name) if "\\" in name and not _exists(folder, name) and _exists(folder, _slashes(name)) else name


def _exists(folder: Path, name: str) -> bool:
    try:
        return (folder / name).is_file()
    except (OSError, ValueError):  # a name that is too long, or has a zero byte
        return False


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _without_overlap(folder: Path, name: str) -> str:
    """Returns the name without the longest beginning that the folder's path ends with."""
    parts, above = PurePosixPath(_slashes(name)).parts, folder.absolute().parts
    for count in range(len(parts) - 1, 0, -1):
        if above[-count:] == parts[:count]:
            return "/".join(parts[count:])
    return name


def _only_folder_with(folder: Path, names: Sequence[str]) -> str | None:
    """Returns the one folder below that has some of the names."""
    try:
        found = [one.name for one in folder.iterdir() if one.is_dir() and not one.name.startswith(".")][:100]
    except OSError:
        return None
    having = [one for one in found if any(_exists(folder / one, _slashes(name)) for name in names)]
    return having[0] if len(having) == 1 else None
