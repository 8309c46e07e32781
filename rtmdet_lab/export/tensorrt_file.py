"""TensorRT engines, built from the ONNX file of the raw heads where TensorRT is installed."""

from __future__ import annotations

from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.export.exported import require
from rtmdet_lab.export.network import INPUT

LARGEST_BATCH = 8


def build_engine(onnx_file: bytes, input_size: int, half: bool) -> bytes:
    """Returns the engine, for batches of 1 to 8 and sides of 64 pixels to twice ``input_size``; best at one of it.

    Raises:
        SettingError: TensorRT is not installed, or refuses the network; says why.
    """
    tensorrt = require("tensorrt", "exporting to TensorRT", "pip install tensorrt, on a machine with an NVIDIA GPU")
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(onnx_file):
        raise SettingError(f"TensorRT {tensorrt.__version__} cannot read the network ({parser.get_error(0).desc()})")
    config = builder.create_builder_config()
    if half:
        config.set_flag(tensorrt.BuilderFlag.FP16)
    profile = builder.create_optimization_profile()
    side, largest = input_size, 2 * input_size
    profile.set_shape(INPUT, (1, 3, 64, 64), (1, 3, side, side), (LARGEST_BATCH, 3, largest, largest))
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise SettingError(f"TensorRT {tensorrt.__version__} could not build an engine: its own message stands above")
    return bytes(engine)
