"""ONNX files: the traced network, with post-processing behind it where detections are asked for."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rtmdet_lab.config.settings import TestConfig
from rtmdet_lab.export.exported import METADATA
from rtmdet_lab.export.network import INPUT, ExportNetwork, exported_program
from rtmdet_lab.export.onnx_graph import OPSET, POSTPROCESSING, postprocessing_graph
from rtmdet_lab.tasks.factory import spec_of

if TYPE_CHECKING:
    import onnx

_SHAPES = {  # names of the dimensions that are free
    INPUT: ("batch", 3, "height", "width"),
    "logits": ("batch", "points", None),
    "boxes": ("batch", "points", None),
    "kernels": ("batch", "points", None),
    "mask_features": ("batch", None, "feature_height", "feature_width"),
}


def raw_onnx(network: ExportNetwork) -> onnx.ModelProto:
    """Returns the network as ONNX: ``images`` (B, 3, H, W) uint8 RGB to the raw dense heads."""
    import torch

    names = spec_of(network.task).raw_outputs
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the exporter tells of steps it skips, which change nothing
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                exported_program(network),
                (),
                dynamo=True,
                input_names=[INPUT],
                output_names=list(names),
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        logging.disable(before)
    model = program.model_proto
    del model.graph.value_info[:]  # shapes inside the network, as formulas that no runtime reads
    for value in (*model.graph.input, *model.graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, _SHAPES.get(value.name, ("batch",)), strict=False):
            if isinstance(name, str):
                dimension.dim_param = name
    return model


def with_postprocessing(raw: onnx.ModelProto, task: str, config: TestConfig) -> onnx.ModelProto:
    """Returns a raw model that ends in detections; ``config`` must be resolved."""
    import onnx

    post = postprocessing_graph(task, config)
    post = onnx.compose.add_prefix(post, POSTPROCESSING, rename_inputs=False, rename_outputs=False)
    for number, node in enumerate(post.graph.node):
        node.name = f"{POSTPROCESSING}{number}"
    model = onnx.ModelProto()
    model.CopyFrom(raw)
    del model.graph.output[:]
    model.graph.node.extend(post.graph.node)
    model.graph.output.extend(post.graph.output)
    for value in model.graph.output:  # the free dimensions keep the names they have in the input
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param.endswith("B"):
                dimension.dim_param = "batch"
    assert tuple(one.name for one in model.graph.output) == spec_of(task).found_outputs
    onnx.checker.check_model(model)
    return model


def describe(model: onnx.ModelProto, description: Mapping[str, Any]) -> None:
    """Writes what a runner must know into the model itself."""
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(description)
    model.producer_name = "rtmdet-lab"
