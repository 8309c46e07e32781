"""OpenVINO files: made from ONNX, the network and its post-processing one by one, so that INT8 sees the network alone."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rtmdet_lab.config.settings import TaskName, TestConfig
from rtmdet_lab.export.exported import require
from rtmdet_lab.export.onnx_graph import postprocessing_graph

if TYPE_CHECKING:
    import onnx
    import openvino


def convert_onnx(model: onnx.ModelProto) -> openvino.Model:
    """Returns an ONNX model as OpenVINO's, its common patterns (SiLU, bias) already one operation each."""
    openvino = require("openvino", "exporting to OpenVINO")
    return openvino.convert_model(io.BytesIO(model.SerializeToString()))


def detections_openvino(raw: openvino.Model, task: TaskName, config: TestConfig) -> openvino.Model:
    """Returns a raw model that ends in detections; ``config`` must be resolved, ``raw`` is taken over."""
    openvino = require("openvino", "exporting to OpenVINO")
    post = convert_onnx(postprocessing_graph(task, config))
    ends = {name: one.output(0) for one in raw.get_parameters() for name in one.output(0).get_names()}
    ends |= {name: one.get_node().input_value(0) for one in raw.outputs for name in one.get_names()}
    for parameter in post.get_parameters():
        (name,) = parameter.output(0).get_names() & ends.keys()
        for target in parameter.output(0).get_target_inputs():
            target.replace_source_output(ends[name])
    return openvino.Model(post.get_results(), raw.get_parameters(), "rtmdet")
