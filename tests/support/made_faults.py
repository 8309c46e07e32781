"""Bad input: what a case of the corpus is, and the files around it that are good."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Place:
    """Where a case lies: its own two folders, and good files that all cases share."""

    bad: Path  # what the case writes before the call
    out: Path  # the only folder the call may write into
    data: Path  # a COCO set: train/, val/, annotations/
    aerial: Path  # a DOTA set: images/, labelTxt/
    weights: Path  # of a detector with two classes
    turned: Path  # of a rotated one

    def file(self, name: str, content: bytes | str | Any) -> Path:
        """Writes a file: bytes, text, or anything else as JSON; returns its path."""
        path = self.bad / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, (bytes, str)):
            content = json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def predict(self, *images: Any, weights: Any = None, more: Sequence[Any] = ()) -> list[Any]:
        """Returns the call that detects objects in images (one of the good set) with weights (the good ones)."""
        images = images or (self.data / "val" / "1.png",)
        options = ["--input-size", 64, "--device", "cpu", "--out", self.out / "drawn", *more]
        return ["predict", *images, "--checkpoint", weights or self.weights, *options]

    def score(self, annotations: Any, images: Any = None, *more: Any) -> list[Any]:
        """Returns the call that scores the good weights on an annotation file."""
        where = ["--images", images or self.data / "val", "--annotations", annotations]
        options = ["--input-size", 64, "--device", "cpu", "--workers", 0, "--progress", "silent"]
        return ["eval", "--checkpoint", self.weights, *where, *options, "--predictions", self.out / "found.json", *more]

    def train(self, *settings: str, model: str = "rtmdet-nano", data: Any = None, more: Sequence[Any] = ()) -> list[Any]:
        """Returns the call that would train a network for an epoch."""
        changes = ["--set", "train.epochs=1", "train.workers=0", *settings]
        return [
            *("train", "--model", model, "--data", data or self.data, "--out", self.out / "run"),
            *("--device", "cpu", "--progress", "silent", *more, *changes),
        ]

    def train_on(self, annotations: Any, model: str) -> list[Any]:
        """Returns the call that would train on an annotation file of the good training images."""
        part = ["--train-images", self.data / "train", "--train-annotations", annotations]
        return self.train(model=model, more=part)

    def split(self, labels: Any, images: Any = None, *more: Any) -> list[Any]:
        """Returns the call that cuts the good aerial images and a folder of label files into windows."""
        options = ["--patch", 64, "--overlap", 16, "--workers", 1, *more]
        return ["data", "split", images or self.aerial / "images", labels, self.out / "windows", *options]


@dataclass(frozen=True)
class Case:
    """One bad input: how to make it, how it is given to the program, and what the one sentence must name."""

    name: str
    make: Callable[[Place], Any]  # -> arguments of the command, or a function that is called instead
    words: tuple[str, ...]
