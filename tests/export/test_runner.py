"""The runner that is shipped beside exported files: alone, and against PyTorch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from made_exports import CLASSES, exported, finder, made_images

from rtmdet_lab.engine.predict import predict
from rtmdet_lab.export import runner
from rtmdet_lab.export.compare import compare
from rtmdet_lab.export.exported import as_detections
from rtmdet_lab.export.runner import Runner


def published_file(path: Path) -> Path:
    """Writes a network as the published tools do: normalised floats in, ``dets``, ``labels``, masks as probabilities.

    Its first score is what it sees at the top left of its first channel.
    """
    text = """
<ir_version: 9, opset_import: ["": 18]>
network (float[1, 3, 64, 64] input) => (float[1, 2, 5] dets, int64[1, 2] labels, float[1, 2, 64, 64] masks) {
    begin = Constant <value = int64[4] {0, 0, 0, 0}> ()
    end = Constant <value = int64[4] {1, 1, 1, 1}> ()
    blue4 = Slice (input, begin, end)
    one_number = Constant <value = int64[3] {1, 1, 1}> ()
    blue = Reshape (blue4, one_number)
    box = Constant <value = float[1, 1, 4] {8.0, 16.0, 24.0, 32.0}> ()
    first = Concat <axis = 2> (box, blue)
    padding = Constant <value = float[1, 1, 5] {0.0, 0.0, 0.0, 0.0, 0.0}> ()
    dets = Concat <axis = 1> (first, padding)
    labels = Constant <value = int64[1, 2] {3, 0}> ()
    size = Constant <value = int64[4] {1, 2, 64, 64}> ()
    chance = Constant <value = float {0.6}> ()
    masks = Expand (chance, size)
}
"""
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def test_a_file_of_the_published_tools_runs(tmp_path):
    image = np.zeros((32, 48, 3), np.uint8)
    image[..., 2] = 200  # blue of RGB: the network's first channel
    found = Runner(published_file(tmp_path / "end2end.onnx"))(image)
    np.testing.assert_allclose(found["scores"], [(200 - 103.53) / 57.375], rtol=1e-6)
    # 48 x 32 fits into 64 pixels as 64 x 43.
    np.testing.assert_allclose(found["boxes"], [[6, 16 * 32 / 43, 18, 32 * 32 / 43]], rtol=1e-6)
    assert found["labels"].tolist() == [3]
    assert found["masks"].shape == (1, 32, 48)
    assert found["masks"].all()


def test_it_needs_numpy_opencv_and_onnx_runtime_only():
    tree = ast.parse(Path(runner.__file__).read_text())
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported == {"json", "sys", "cv2", "numpy", "onnxruntime"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]


def test_it_is_short():
    lines = [line for line in Path(runner.__file__).read_text().splitlines() if line.strip()]
    assert len(lines) <= 75


@pytest.fixture(scope="module")
def instance_file() -> Path:
    return exported("instance", score_threshold=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_detections_and_masks_are_those_of_pytorch(instance_file, seed):
    images = made_images(4, seed)
    expected = predict(finder("instance"), images, input_size=128, score_threshold=0.2)
    run = Runner(instance_file)
    found = [as_detections(run(image)) for image in images]
    difference = compare(expected, found)
    assert difference.detections == difference.exported == difference.matched > 100
    assert difference.boxes_px < 0.05
    assert difference.scores < 5e-4  # untrained networks magnify rounding; trained ones stay below 1e-5
    assert difference.masks_equal > 0.999


@pytest.mark.slow
def test_a_least_score_leaves_out_what_is_below(instance_file):
    image = made_images(1)[0]
    run = Runner(instance_file)
    every, best = run(image), run(image, 0.5)
    assert 0 < len(best["scores"]) < len(every["scores"])
    assert np.array_equal(best["scores"], every["scores"][every["scores"] > np.float32(0.5)])


@pytest.mark.slow
def test_beside_the_file_it_prints_what_it_finds(instance_file, tmp_path):
    image = tmp_path / "noise.png"
    cv2.imwrite(str(image), made_images(1)[0][..., ::-1])
    call = [sys.executable, str(instance_file.with_name("runner.py")), str(instance_file), str(image), "0.4"]
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = Runner(instance_file)(made_images(1)[0], 0.4)
    lines = done.stdout.splitlines()
    assert len(lines) == len(found["scores"]) > 0
    assert lines[0].split()[:2] == [CLASSES[found["labels"][0]], f"{found['scores'][0]:.3f}"]


@pytest.mark.parametrize(
    ("model", "image", "least", "words"),
    [
        ("none.onnx", "noise.png", "0.3", "none.onnx is missing or no whole ONNX file"),
        ("text.onnx", "noise.png", "0.3", "text.onnx is missing or no whole ONNX file"),
        ("good.onnx", "none.png", "0.3", "none.png is missing or no image"),
        ("good.onnx", "noise.png", "high", "could not convert string to float: 'high'"),
        ("raw.onnx", "noise.png", "0.3", "raw.onnx has no NMS (outputs images): export it with --output detections"),
    ],
)
def test_what_it_cannot_run_is_one_sentence(tmp_path, model, image, least, words):
    published_file(tmp_path / "good.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    value = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["images"])
    given = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    raw = onnx.helper.make_model(onnx.helper.make_graph([node], "raw", [given], [value]), ir_version=8)
    onnx.save(raw, tmp_path / "raw.onnx")
    cv2.imwrite(str(tmp_path / "noise.png"), made_images(1)[0])
    call = [sys.executable, runner.__file__, model, image, least]
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert words in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
