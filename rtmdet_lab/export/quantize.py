"""INT8: ranges of activations measured on calibration images, by NNCF.

In eight bits are the dense convolutions, which do nearly all of a network's arithmetic. SiLU stays in float: rounded inside,
it costs two fifths of the AP, and runtimes compute it together with the convolution before it. So do the last convolutions,
whose outputs are the answer, and the depth-wise ones: they have little arithmetic and take no longer in float
(docs/results/performance.md has what each choice costs). Post-processing is added afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.export.exported import require
from rtmdet_lab.export.network import INPUT

if TYPE_CHECKING:
    import onnx
    import openvino


def quantize_openvino(model: openvino.Model, calibration: Iterable[np.ndarray]) -> openvino.Model:
    """Returns a raw model (see :func:`~rtmdet_lab.export.openvino_file.convert_onnx`) that computes in eight bits.

    Args:
        calibration: canvases (1, 3, H, W) uint8 RGB, as the network will see them.

    Raises:
        DataError: no image to calibrate with.
        SettingError: NNCF is not installed.
    """
    # Biases are corrected layer after layer: the fast way does not see what earlier layers do to later ones.
    return _quantize(model, 0, calibration, float_operations(model), fast_bias_correction=False)


def quantize_onnx(model: onnx.ModelProto, calibration: Iterable[np.ndarray]) -> onnx.ModelProto:
    """Returns a raw model (see :func:`~rtmdet_lab.export.onnx_file.raw_onnx`) that runs in eight bits; else as above."""
    # NNCF's slow correction of biases fails on ONNX files (3.4: it gives a name twice).
    return _quantize(model, INPUT, calibration, float_nodes(model), fast_bias_correction=True)


def _quantize(model: Any, key: str | int, calibration: Iterable[np.ndarray], in_float: list[str], **settings: bool) -> Any:
    images = [{key: canvas} for canvas in calibration]
    if not images:
        raise DataError("int8 needs calibration images and there are none: name a folder of images (--calibration)")
    nncf = require("nncf", "exporting in int8")
    with _quietly():
        return nncf.quantize(
            model,
            nncf.Dataset(images),
            preset=nncf.QuantizationPreset.MIXED,  # SiLU's outputs reach below zero
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=in_float),
            **settings,
        )


def float_operations(model: openvino.Model) -> list[str]:
    """Returns the names of the operations of an OpenVINO network that stay in float; SiLU is one operation there."""
    operations = {one.get_friendly_name(): one for one in model.get_ordered_ops()}
    inputs = {name: [one.get_node().get_friendly_name() for one in op.input_values()] for name, op in operations.items()}
    ends = [one.input_value(0).get_node().get_friendly_name() for one in model.get_results()]
    last = last_before(ends, inputs, lambda name: operations[name].get_type_name() == "Convolution")
    return [name for name, op in operations.items() if op.get_type_name() == "GroupConvolution" or name in last]


def float_nodes(model: onnx.ModelProto) -> list[str]:
    """Returns the names of the nodes of an ONNX network that stay in float; SiLU is two nodes there."""
    nodes = {node.name: node for node in model.graph.node}
    producers = {output: node.name for node in model.graph.node for output in node.output}
    inputs = {name: [producers[one] for one in node.input if one in producers] for name, node in nodes.items()}
    ends = [producers[one.name] for one in model.graph.output]
    last = last_before(ends, inputs, lambda name: nodes[name].op_type == "Conv")
    kept = []
    for name, node in nodes.items():
        if node.op_type == "Conv" and (_is_depthwise(node) or name in last):
            kept.append(name)
        elif node.op_type == "Mul":
            gates = [nodes[one] for one in inputs[name] if nodes[one].op_type == "Sigmoid"]
            if any(gate.input[0] in node.input for gate in gates):
                kept += [name, *(gate.name for gate in gates)]
    return kept


def last_before(ends: Iterable[str], inputs: Mapping[str, Sequence[str]], wanted: Callable[[str], bool]) -> set[str]:
    """Returns the nearest wanted nodes of a graph on all ways back from ``ends``.

    By position, not by name: OpenVINO merges factors into weights, which are then called otherwise.

    >>> graph = {"sum": ["c2", "c3"], "c2": ["c1"], "c3": ["c1"], "c1": []}
    >>> sorted(last_before(["sum"], graph, lambda name: name[0] == "c"))
    ['c2', 'c3']
    """
    found, seen, waiting = set(), set(), list(ends)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if wanted(name):
            found.add(name)
        else:
            waiting += inputs[name]
    return found


def _is_depthwise(node: onnx.NodeProto) -> bool:
    return any(attribute.name == "group" and attribute.i > 1 for attribute in node.attribute)


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
