"""What is written for each target, and what is refused before any work."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from made_exports import CLASSES, exported, finder, made_images, test_settings

from rtmdet_lab.core.errors import DataError, SettingError, UnknownNameError
from rtmdet_lab.engine.predict import predict
from rtmdet_lab.export.canvases import canvas_of, detect_exported, spread_canvases
from rtmdet_lab.export.compare import compare
from rtmdet_lab.export.exported import open_exported
from rtmdet_lab.export.network import ExportNetwork
from rtmdet_lab.export.targets import SUFFIXES, export_model, make_plan
from rtmdet_lab.transforms.normalize import normalize


@pytest.fixture(scope="module")
def image_files(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    for number, image in enumerate(made_images(4)):
        cv2.imwrite(str(folder / f"{number}.png"), image[..., ::-1])
    return sorted(folder.iterdir())


@pytest.mark.parametrize("task", ["detection", "instance", "rotated"])
@pytest.mark.parametrize("size", [(64, 96), (75, 100)])
def test_the_exported_network_says_what_the_model_says(task, size):
    shown = [cv2.resize(image, size[::-1]) for image in made_images(2)]
    images = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2)
    # Of other seeds, rounding alone puts one coordinate in a thousand past the tolerance.
    with torch.no_grad():
        expected = finder(task, seed=2)(normalize(images))
    found = ExportNetwork(finder(task, seed=2))(images)
    wanted = [expected.logits, expected.boxes, expected.kernels, expected.mask_features]
    for one, other in zip(found, [value for value in wanted if value is not None], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("choices", "error", "words"),
    [
        ({"target": "onx"}, UnknownNameError, "did you mean 'onnx'"),
        ({"target": "torchscript", "output": "detections"}, SettingError, "without NMS"),
        ({"target": "torchscript", "precision": "int8"}, SettingError, "onnx, openvino"),
        ({"target": "onnx", "task": "rotated", "output": "detections"}, SettingError, "--output raw"),
    ],
)
def test_what_does_not_exist_is_refused_in_a_sentence(choices, error, words):
    settings = {"task": "detection", "test": test_settings("detection"), "classes": CLASSES} | choices
    with pytest.raises(error, match=words):
        make_plan(**settings)


@pytest.mark.parametrize(
    ("task", "target", "output"),
    [
        ("detection", "onnx", "detections"),
        ("instance", "openvino", "detections"),
        ("rotated", "onnx", "raw"),
        ("detection", "torch-export", "raw"),
        ("instance", "torchscript", "raw"),
    ],
)
def test_without_a_choice_detections_are_written_where_they_can_be(task, target, output):
    assert make_plan(task, target, test_settings(task), CLASSES).output == output


def test_a_file_that_exists_and_another_suffix_are_refused(tmp_path):
    plan = make_plan("detection", "torchscript", test_settings("detection"), CLASSES)
    with pytest.raises(SettingError, match=r"does not end in \.torchscript"):
        export_model(finder(), plan, tmp_path / "model.onnx")
    path = tmp_path / "model.torchscript"
    path.write_text("mine")
    with pytest.raises(SettingError, match="--overwrite"):
        export_model(finder(), plan, path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(("target", "package"), [("onnx", "onnxscript"), ("openvino", "openvino"), ("tensorrt", "tensorrt")])
def test_a_missing_package_is_named_with_the_line_that_installs_it(tmp_path, monkeypatch, target, package):
    real = __import__("importlib").import_module

    def without(name, *args):
        if name == package:
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr("importlib.import_module", without)
    plan = make_plan("detection", target, test_settings("detection"), CLASSES)
    with pytest.raises(SettingError, match=f"needs {package}, which is not installed: pip install"):
        export_model(finder(), plan, tmp_path / f"model{SUFFIXES[target]}")
    assert not list(tmp_path.iterdir())


def test_calibration_needs_a_folder_with_images(tmp_path):
    with pytest.raises(DataError, match="no calibration folder"):
        spread_canvases(tmp_path / "none", 5, 128)
    with pytest.raises(DataError, match="holds no image"):
        spread_canvases(tmp_path, 5, 128)


def test_a_foreign_file_is_refused_in_a_sentence(tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(DataError, match="does not exist"):
        open_exported(path)
    path.write_bytes(b"no model")
    with pytest.raises(DataError, match="cannot be opened"):
        open_exported(path)
    with pytest.raises(DataError, match="ends in none of"):
        open_exported(Path(__file__))


def agrees(path: Path, task: str, images: list[Path]) -> None:
    settings = test_settings(task)
    expected = predict(finder(task), images, input_size=128, score_threshold=settings.score_threshold)
    difference = compare(expected, detect_exported(open_exported(path, threads=1), images))
    assert difference.detections == difference.exported == difference.matched >= 50
    assert difference.boxes_px < 0.05
    assert difference.scores < 5e-4
    assert difference.masks_equal is None or difference.masks_equal > 0.999


@pytest.mark.slow
def test_torchscript_agrees_with_pytorch(image_files):
    agrees(exported("rotated", "torchscript"), "rotated", image_files)
    agrees(exported("instance", "torchscript"), "instance", image_files)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "target", "output"),
    [
        ("detection", "onnx", "detections"),
        ("instance", "onnx", "raw"),
        ("rotated", "onnx", "raw"),
        ("instance", "openvino", "detections"),
        ("rotated", "openvino", "raw"),
        ("detection", "torch-export", "raw"),
    ],
)
def test_every_target_agrees_with_pytorch(image_files, task, target, output):
    agrees(exported(task, target, output), task, image_files)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_int8_is_quantised_and_finds_much_of_the_same(image_files, tmp_path, target):
    plan = make_plan("detection", target, test_settings("detection"), CLASSES, precision="int8")
    path = tmp_path / f"model{SUFFIXES[target]}"
    export_model(finder(), plan, path, [canvas_of(one, 128, "detection")[0] for one in image_files])
    text = path.read_bytes()
    assert b"FakeQuantize" in text or b"QuantizeLinear" in text
    expected = predict(finder(), image_files, input_size=128, score_threshold=0.3)
    difference = compare(expected, detect_exported(open_exported(path, threads=1), image_files))
    # Untrained networks magnify rounding; what a trained one loses is in docs/results/performance.md.
    assert difference.matched > 0.4 * difference.detections
    assert difference.scores > 0


def quantised_weights(network) -> set[str]:
    """Returns the kinds of the operations of an OpenVINO network whose weights are bytes."""
    behind = {"Convert", "Multiply", "Subtract", "Reshape", "FakeQuantize"}  # from bytes back to numbers
    kinds = set()
    for operation in network.get_ordered_ops():
        if "Convolution" in operation.get_type_name():
            source = operation.input_value(1).get_node()
            while source.get_type_name() in behind:
                source = source.input_value(0).get_node()
            if source.output(0).get_element_type().get_type_name() == "i8":
                kinds.add(operation.get_type_name())
    return kinds


@pytest.mark.slow
def test_int8_leaves_depthwise_convolutions_predictors_and_silu_in_float(image_files):
    import openvino

    from rtmdet_lab.export.onnx_file import raw_onnx
    from rtmdet_lab.export.openvino_file import convert_onnx
    from rtmdet_lab.export.quantize import float_nodes, float_operations, quantize_openvino

    raw = raw_onnx(ExportNetwork(finder()))
    network = convert_onnx(raw)
    convolutions = [one for one in finder().modules() if isinstance(one, torch.nn.Conv2d)]
    depthwise = sum(one.groups > 1 for one in convolutions)
    silu = sum(isinstance(one, torch.nn.SiLU) for one in finder().modules())
    predictors = 6  # logits and distances of three levels
    assert 0 < depthwise < silu
    assert len(float_operations(network)) == depthwise + predictors
    assert len(float_nodes(raw)) == depthwise + predictors + 2 * len(
        [one for one in raw.graph.node if one.op_type == "Sigmoid"]
    )
    assert quantised_weights(network) == set()
    quantised = quantize_openvino(network, [canvas_of(one, 128, "detection")[0] for one in image_files])
    assert quantised_weights(quantised) == {"Convolution"}
    for operation in quantised.get_ordered_ops():
        if operation.get_type_name() == "Swish":  # what goes in comes from a convolution as it is
            assert operation.input_value(0).get_node().get_type_name() != "FakeQuantize"
    assert isinstance(quantised, openvino.Model)
