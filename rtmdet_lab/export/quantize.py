"""INT8: ranges of activations measured on calibration images, by NNCF.

Only the network is quantised, but for its last convolutions. Post-processing is added afterwards, in float.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from rtmdet_lab.errors import DataError
from rtmdet_lab.export.exported import require
from rtmdet_lab.export.network import INPUT

if TYPE_CHECKING:
    import onnx

FLOAT_WEIGHTS = re.compile(r"\.rtm_(cls|reg|kernel|ang)\.")  # of the predictors: their outputs are the answer


def quantize_onnx(model: onnx.ModelProto, calibration: Iterable[np.ndarray]) -> onnx.ModelProto:
    """Returns a raw model (see :func:`~rtmdet_lab.export.onnx_file.raw_onnx`) that runs in eight bits.

    Args:
        calibration: canvases (1, 3, H, W) uint8 RGB, as the network will see them.

    Raises:
        DataError: no image to calibrate with.
        SettingError: NNCF is not installed.
    """
    images = [{INPUT: canvas} for canvas in calibration]
    if not images:
        raise DataError("int8 needs calibration images and there are none: name a folder of images (--calibration)")
    nncf = require("nncf", "exporting in int8")
    with _quietly():
        return nncf.quantize(
            model,
            nncf.Dataset(images),
            preset=nncf.QuantizationPreset.MIXED,  # SiLU's outputs reach below zero
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=float_nodes(model)),
        )


def float_nodes(model: onnx.ModelProto) -> list[str]:
    """Returns the names of the convolutions that stay in float."""
    return [node.name for node in model.graph.node if node.op_type == "Conv" and FLOAT_WEIGHTS.search(node.input[1])]


@contextmanager
def _quietly() -> Iterator[None]:
    """Keeps the tool's own report out of the output; warnings stay."""
    logger = logging.getLogger("nncf")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
