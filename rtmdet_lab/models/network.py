"""What every network of a task is, whatever it predicts."""

from __future__ import annotations

import re

from torch import Tensor, nn

from rtmdet_lab.config.resolved import ResolvedModel


class Network(nn.Module):
    """Normalised images (B, 3, H, W) to predictions, and what is known of its weights; knows no loss.

    Attributes:
        config: what it was built from.
        task: the name of the task it was built for.
        classes: names in label order, once weights with names are loaded or a training has named them.
        input_size: side of the images that the weights are meant for, pixels.
        class_rows: of the keys of weights that have a row for each class.
    """

    config: ResolvedModel
    task: str
    classes: tuple[str, ...] | None = None
    input_size: int | None = None
    class_rows: re.Pattern[str]

    @property
    def num_classes(self) -> int:
        return self.config.num_classes

    def raw(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns the outputs that are exported, float32, for normalised images in the precision of the weights."""
        raise NotImplementedError
