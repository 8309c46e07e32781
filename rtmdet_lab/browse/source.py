"""What is put into a data set: the detections of one run on annotated images, with what is known of each row."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from rtmdet_lab.analysis.errors import Errors, find_errors
from rtmdet_lab.browse.match_results import Rows, describe
from rtmdet_lab.evaluation.matching import ImagePair, Kind


@dataclass
class Source:
    """One run's detections on one annotated set."""

    name: str  # the run's
    data: str  # the set's: what the data set is called after
    truth: Path  # annotation file, or folder of label files
    path: Path  # of the detections
    pairs: list[ImagePair]
    classes: tuple[str, ...]
    kind: Kind
    left_out: list[str] = field(default_factory=list)  # sentences about what could not be used

    @property
    def rotated(self) -> bool:
        return self.kind == "rotated"

    @cached_property
    def errors(self) -> Errors:
        return find_errors(self.pairs, self.classes, self.kind)

    @cached_property
    def rows(self) -> list[Rows]:
        """What is known of each image's detections and objects, one entry per pair."""
        return describe(self.errors)


def digest_of(path: Path) -> str:
    """Returns what changes when a file, or any text file of a folder, changes."""
    digest = hashlib.sha256()
    for file in sorted(path.glob("*.txt")) if path.is_dir() else [path]:
        digest.update(file.name.encode() + b"\0")
        digest.update(file.read_bytes())
    return digest.hexdigest()
