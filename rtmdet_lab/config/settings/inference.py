"""Settings of inference: what makes detections of the network's output, tiles and test-time augmentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from rtmdet_lab.config.settings.limits import AT_LEAST_ONE, NOT_NEGATIVE, OVER_ZERO_TO_ONE, SIDE, Limit, Settings

_SCORE = Limit(lambda score: 0 <= score < 1, "in [0, 1)")
_SCALES = Limit(
    lambda scales: len(scales) > 0 and all(0.1 <= scale <= 10 for scale in scales), "a list of factors from 0.1 to 10"
)


@dataclass(frozen=True)
class TestConfig(Settings):
    """Inference settings. None: those behind the published AP of the task (released configurations, config/presets.py)."""

    __test__ = False  # not a pytest class
    part = "test"

    input_size: Annotated[int | None, SIDE] = None
    """Side of the square that images are fitted into, pixels. Left alone: test.tile, or else the training canvas."""
    score_threshold: Annotated[float | None, _SCORE] = None
    """Lowest score of a detection; published scores are measured with a very low one (paper.md 3.2, 3.6, 3.7)."""
    nms_iou: Annotated[float | None, OVER_ZERO_TO_ONE] = None
    """Overlap with a better box of its class from which on a box is suppressed (paper.md 3.2, 3.6, 3.7)."""
    max_per_level: Annotated[int | None, AT_LEAST_ONE] = None
    """Best candidates of each stride that go into suppression (paper.md 3.2, 3.6, 3.7)."""
    max_per_image: Annotated[int | None, AT_LEAST_ONE] = None
    """Detections that an image keeps; with test.tile, that each tile keeps (paper.md 3.2, 3.6, 3.7)."""
    batch_size: Annotated[int, AT_LEAST_ONE] = 16
    """Images per pass of the network in validation."""
    tile: Annotated[int | None, SIDE] = None
    """Side of the tiles that large images are cut into, pixels. Left alone: images stay whole (paper.md 3.7)."""
    overlap: Annotated[int, NOT_NEGATIVE] = 200
    """Pixels that neighbouring tiles have in common, as published for tiles of 1024 (paper.md 3.7)."""
    tta: bool = False
    """Test-time augmentation as published for the task, unless test.tta_scales or test.tta_flip ask for another
    (paper.md 3.2)."""
    tta_scales: Annotated[tuple[float, ...] | None, _SCALES] = None
    """Factors of the input size at which each image is seen, 1.0 being the plain one."""
    tta_flip: bool | None = None
    """Each image is seen mirrored, too: left to right, and rotated boxes also top to bottom and both ways."""
    tta_nms_iou: Annotated[float | None, OVER_ZERO_TO_ONE] = None
    """Overlap that suppresses where the results of test-time augmentation become one (paper.md 3.2)."""
    tta_max_per_image: Annotated[int | None, AT_LEAST_ONE] = None
    """Detections that test-time augmentation leaves of an image; with test.tile there is no such limit (paper.md 3.2)."""

    def post_processing(self) -> dict[str, Any]:
        """Returns by name what makes detections of the network's output for one input, and the size of that input."""
        names = ("input_size", "score_threshold", "nms_iou", "max_per_level", "max_per_image")
        return {name: getattr(self, name) for name in names}

    def changed(self, given: Mapping[str, Any]) -> TestConfig:
        """Returns these settings with those that are given, by name, in their place; None is not given."""
        given = {name: value for name, value in given.items() if value is not None}
        if "tta_scales" in given:
            given["tta_scales"] = tuple(given["tta_scales"])
        return dataclasses.replace(self, **given)


INFERENCE = TestConfig(batch_size=8)  # what ``predict`` and the verbs of the command begin with
