"""INT8: ranges of activations measured on calibration images, by NNCF.

Only the network is quantised: post-processing stays in float.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from rtmdet_lab.errors import DataError
from rtmdet_lab.export.exported import require
from rtmdet_lab.export.network import INPUT
from rtmdet_lab.export.onnx_graph import POSTPROCESSING

if TYPE_CHECKING:
    import onnx
    import openvino


def quantize_onnx(model: onnx.ModelProto, calibration: Iterable[np.ndarray]) -> onnx.ModelProto:
    """Returns a raw model (see :func:`~rtmdet_lab.export.onnx_file.raw_onnx`) that runs in eight bits.

    Args:
        calibration: canvases (1, 3, H, W) uint8 RGB, as the network will see them.

    Raises:
        DataError: no image to calibrate with.
    """
    return _quantized(model, [{INPUT: one} for one in calibration])


def quantize_openvino(model: openvino.Model, calibration: Iterable[np.ndarray]) -> openvino.Model:
    """Returns an OpenVINO model whose network runs in eight bits; see :func:`quantize_onnx`."""
    return _quantized(model, list(calibration))


def _quantized(model: Any, images: list[Any]) -> Any:
    if not images:
        raise DataError("int8 needs calibration images and there are none: name a folder of images (--calibration)")
    nncf = require("nncf", "exporting in int8")
    with _quietly():
        return nncf.quantize(
            model,
            nncf.Dataset(images),
            preset=nncf.QuantizationPreset.MIXED,  # SiLU's outputs reach below zero
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(patterns=[f"{POSTPROCESSING}.*"], validate=False),
        )


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
