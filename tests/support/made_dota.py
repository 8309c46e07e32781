"""DOTA sets written to disk, as small as they can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

torch.set_num_threads(1)  # see made_samples

SHIP = "10 10 30 10 30 20 10 20 ship 0"
TILTED = "50 20 60 30 50 40 40 30 plane 1"


def write_dota(folder: Path, lines: dict[str, list[str]], size: tuple[int, int] = (100, 80)) -> tuple[Path, Path]:
    """Writes an image of ``size`` (width, height) and a label file per entry; returns the two folders."""
    images, labels = folder / "images", folder / "labelTxt"
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for name, content in lines.items():
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{name}.png")
        (labels / f"{name}.txt").write_text("".join(f"{line}\n" for line in content))
    return images, labels
