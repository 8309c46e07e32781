"""From images of any form to boxes in their own pixels."""

from __future__ import annotations

import json
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from made_finder import Finder, picture
from made_networks import SMALL, noise, settle_norms, small_model
from made_sets import assert_one_sentence
from PIL import Image
from torch.testing import assert_close

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import DataError, SettingError
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.engine import predict as predict_module
from rtmdet_lab.engine.load import task_from_checkpoint
from rtmdet_lab.engine.predict import image_paths, predict, prepare_inference
from rtmdet_lab.tasks.common import NonFiniteOutputError
from rtmdet_lab.tasks.factory import build_task, create_model
from rtmdet_lab.transforms.base import to_image
from rtmdet_lab.transforms.normalize import normalize

SIZES = {(100, 160): [20, 30, 90, 70], (333, 97): [11, 200, 60, 301], (64, 64): [8, 8, 40, 24], (31, 250): [100, 5, 200, 27]}


@pytest.fixture
def folder(tmp_path):
    """Returns a folder with one picture per size, in the order of their names."""
    for number, (size, box) in enumerate(SIZES.items()):
        Image.fromarray(picture(*size, box)).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


@pytest.mark.parametrize("input_size", [64, 320])
def test_boxes_are_in_the_pixels_of_each_image(input_size):
    found = predict(Finder(), [picture(*size, box) for size, box in SIZES.items()], input_size=input_size, batch_size=3)
    for one, ((height, width), box) in zip(found, SIZES.items(), strict=True):
        assert len(one) == 1
        # An edge is found to a pixel of the network's canvas.
        pixel = max(height, width) / input_size
        assert_close(one.boxes[0], torch.tensor(box, dtype=torch.float32), rtol=0, atol=max(pixel, 1.0) * 1.1)
        assert one.scores.item() == pytest.approx(torch.tensor(4.0).sigmoid().item(), abs=1e-6)
        assert one.labels.tolist() == [0]
        assert one.meta.original_size == (height, width)


def test_every_form_of_an_image_gives_the_same(folder):
    array = np.asarray(Image.open(folder / "0.png"))
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    single = [folder / "0.png", str(folder / "0.png"), array, tensor, tensor.contiguous(), array[:, ::-1][:, ::-1]]
    boxes = [predict(Finder(), form, input_size=64)[0].boxes for form in single]
    boxes += [predict(Finder(), [form], input_size=64)[0].boxes for form in single]
    boxes.append(predict(Finder(), tensor[None], input_size=64)[0].boxes)  # a batch is several images
    boxes.append(predict(Finder(), array[None], input_size=64)[0].boxes)
    assert all(torch.equal(one, boxes[0]) for one in boxes)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_order_is_kept_over_folders_files_and_arrays(folder, batch_size):
    model = Finder()
    mixed = (
        form
        for form in [picture(50, 50, [1, 1, 20, 20]), folder, str(folder / "2.png"), torch.zeros(3, 9, 9, dtype=torch.uint8)]
    )
    found = predict(model, mixed, input_size=64, batch_size=batch_size)
    assert [one.meta.original_size for one in found] == [(50, 50), *SIZES, (64, 64), (9, 9)]
    assert [shape[0] for shape in model.batches] == [batch_size] * (7 // batch_size) + (
        [7 % batch_size] if 7 % batch_size else []
    )
    assert {shape[1:] for shape in model.batches} == {(3, 64, 64)}
    assert len(found[-1]) == 0  # nothing bright


def test_folder_is_its_images_in_the_order_of_their_names(folder):
    (folder / "._0.png").write_bytes(b"\0\5\26\7\0\2")  # what macOS packs beside each file
    assert [path.name for path in image_paths(folder)] == ["0.png", "1.png", "2.png", "3.png"]
    (folder / "a.JPG").write_bytes((folder / "0.png").read_bytes())
    assert image_paths(folder)[-1].name == "a.JPG"  # suffixes of cameras are capital
    assert [one.meta.image_id for one in predict(Finder(), folder, input_size=64)][:2] == ["0.png", "1.png"]


def test_array_of_a_pillow_image_is_used_without_a_warning(folder):
    array = np.asarray(Image.open(folder / "0.png"))
    assert not array.flags.writeable  # the usual way to get an array, and a read-only one
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        predict(Finder(), array, input_size=64)


def test_no_images_give_no_detections():
    assert predict(Finder(), []) == []


@pytest.mark.parametrize("training", [True, False])
def test_mode_of_the_model_is_kept_even_after_an_error(folder, training):
    model = Finder().train(training)
    predict(model, folder, input_size=64)
    assert model.training == training
    with pytest.raises(DataError):
        predict(model, folder / "gone.png")
    assert model.training == training


def test_network_runs_in_eval_mode_without_gradients():
    modes = []

    class Watched(Finder):
        def forward(self, images):
            modes.append((self.training, torch.is_grad_enabled()))
            return super().forward(images)

    predict(Watched().train(), picture(50, 50, [1, 1, 20, 20]), input_size=64)
    assert modes == [(False, False)]


def test_detections_belong_to_the_caller():
    (found,) = predict(Finder(), picture(50, 50, [1, 1, 20, 20]), input_size=64)
    found.boxes += 1  # tensors made in inference mode would refuse this
    (found.scores * torch.ones(1, requires_grad=True)).sum().backward()


def test_threshold_and_limit_are_applied():
    bright = picture(50, 50, [1, 1, 20, 20])
    assert len(predict(Finder(), bright, input_size=64, score_threshold=0.99)[0]) == 0
    assert len(predict(Finder(), bright, input_size=64, score_threshold=0.0, max_per_image=1)[0]) == 1
    assert len(predict(Finder(), bright, input_size=64, score_threshold=0.0)[0]) == 2  # two classes at one point


def test_input_is_not_changed():
    array = picture(50, 50, [1, 1, 20, 20])
    before = array.copy()
    predict(Finder(), array, input_size=64)
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((5, 5, 3)),
        np.zeros((5, 5)),
        np.zeros((5, 5, 2), dtype=np.uint8),
        np.zeros((3, 5, 5), dtype=np.uint8),
        np.zeros((5, 5, 4), dtype=np.uint8),
        torch.zeros(3, 5, 5),
        torch.zeros(5, 5, 3, dtype=torch.uint8),
        [torch.zeros(4, 5, 5, dtype=torch.uint8)],
        [None],
        None,
        5,
        [5],
        b"bytes",
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}-{getattr(value, 'shape', '')}",
)
def test_what_is_no_image_is_refused_in_one_sentence(bad):
    with pytest.raises(DataError) as error:
        predict(Finder(), bad)
    assert_one_sentence(error.value, "path", "array", "tensor")


@pytest.mark.parametrize("empty", [np.zeros((0, 5, 3), np.uint8), torch.zeros(3, 5, 0, dtype=torch.uint8)])
def test_image_without_pixels_is_refused(empty):
    with pytest.raises(DataError) as error:
        predict(Finder(), empty)
    assert_one_sentence(error.value, "no pixels")


def test_pillow_and_grey_images_give_what_their_files_give(tmp_path):
    grey = picture(50, 60, [10, 5, 40, 25])[:, :, 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    wanted = predict(Finder(), tmp_path / "grey.png", input_size=64)[0].boxes
    assert len(wanted) == 1
    tensor, opened = torch.from_numpy(grey.copy()), Image.open(tmp_path / "grey.png")
    forms = [grey, grey[:, :, None], [grey], tensor, tensor[None], [tensor], opened, [opened], opened.convert("RGBA")]
    forms += [Image.fromarray(grey), opened.convert("P"), Image.fromarray(grey.astype(np.uint16) * 256)]
    for form in forms:
        (found,) = predict(Finder(), form, input_size=64)
        assert_close(found.boxes, wanted)
    turned = Image.fromarray(np.rot90(grey).copy())
    turned.getexif()[0x0112] = 6  # a camera that lay on its side: to be turned clockwise
    assert_close(predict(Finder(), turned, input_size=64)[0].boxes, wanted)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pillow_image_of_unknown_range_is_named(mode):
    with pytest.raises(DataError) as error:
        predict(Finder(), Image.new(mode, (5, 5)))
    assert_one_sentence(error.value, f"mode {mode}", "8 or 16 bits")


@pytest.mark.parametrize("address", ["https://host/a.jpg", "http://host/a/b.png", "s3://bucket/a.jpg"])
@pytest.mark.parametrize("form", [str, Path], ids=["text", "path"])
def test_address_of_an_image_is_named_whole(address, form):
    with pytest.raises(DataError) as error:
        predict(Finder(), form(address))
    assert_one_sentence(error.value, address, "download it")


@pytest.mark.parametrize("model", ["runs/first", Path("w.pth"), None, 5, torch.nn.Identity(), {}], ids=repr)
def test_what_is_no_model_is_named(model):
    with pytest.raises(SettingError) as error:
        predict(model, [])
    assert_one_sentence(error.value, "a model or a task", "task_from_checkpoint")


def test_task_gives_its_model_and_its_settings_where_none_are_given():
    task = build_task(with_overrides(ExperimentConfig(), {"test.score_threshold": 0.99, "test.input_size": 96}))
    task.model = Finder()
    bright = picture(50, 50, [1, 1, 20, 20])
    assert len(predict(task, bright)[0]) == 0
    assert len(predict(task, bright, score_threshold=0.5)[0]) == 1
    predict(task, bright, input_size=32)
    predict(task, bright, tile=64, overlap=16)
    assert [shape[-1] for shape in task.model.batches] == [96, 96, 32, 64]


def test_size_is_the_one_the_weights_were_trained_at():
    model = Finder()
    predict(model, picture(50, 50, [1, 1, 20, 20]))
    model.input_size = 96
    predict(model, picture(50, 50, [1, 1, 20, 20]))
    assert [shape[-1] for shape in model.batches] == [640, 96]


@pytest.mark.parametrize(("part", "value"), [("logits", float("nan")), ("logits", float("inf")), ("boxes", float("nan"))])
def test_output_that_is_not_finite_is_said_and_not_taken_for_nothing(part, value, folder):
    class Diverged(Finder):
        def forward(self, images):
            predictions = super().forward(images)
            getattr(predictions, part)[-1] = value
            return predictions

    with pytest.raises(NonFiniteOutputError) as error:
        predict(Diverged(), [folder / "0.png", folder / "1.png"], input_size=64)
    assert_one_sentence(error.value, "image 1.png", "NaN or infinite")
    with pytest.raises(NonFiniteOutputError):
        predict(Diverged(), folder / "0.png", input_size=64, tile=64, overlap=16)


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no image")
    for path, word in (("gone.jpg", "does not exist"), ("empty", "no image"), ("text.jpg", "not an image")):
        with pytest.raises(DataError) as error:
            predict(Finder(), tmp_path / path)
        assert_one_sentence(error.value, path, word)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"input_size": 100}, "multiple of 32"),
        ({"input_size": 0}, "multiple of 32"),
        ({"score_threshold": 1.5}, "score_threshold"),
        ({"nms_iou": 0.0}, "nms_iou"),
        ({"max_per_image": 0}, "max_per_image"),
        ({"batch_size": 0}, "batch_size"),
        ({"tile": 100}, "test.tile is 100, but must be a multiple of 32"),
        ({"tile": 0}, "test.tile"),
        ({"tile": 64, "overlap": 64}, "test.overlap is 64, but must be less than test.tile, which is 64"),
        ({"tile": 64, "overlap": -1}, "test.overlap"),
        ({"overlap": 64}, "test.tile"),
        ({"tta_scales": [0]}, "test.tta_scales"),
        ({"tta_nms_iou": 0.5}, "test.tta_nms_iou"),
    ],
    ids=str,
)
def test_impossible_setting_is_named(settings, words):
    with pytest.raises(SettingError) as error:
        predict(Finder(), picture(50, 50, [1, 1, 20, 20]), **settings)
    assert_one_sentence(error.value, words)


@pytest.mark.parametrize("settings", [{"tile": 256}, {"tta": True}, {"tta_flip": True}], ids=str)
def test_masks_are_neither_cut_nor_looked_at_twice(settings):
    model = small_model()
    model.task = "instance"
    with pytest.raises(SettingError) as error:
        predict(model, picture(50, 50, [1, 1, 20, 20]), **settings)
    assert_one_sentence(error.value, "masks", "leave it alone")


def test_image_goes_before_the_next_is_decoded(monkeypatch):
    kept = []

    def read(path):
        assert all(one() is None for one in kept), "two decoded images at a time"
        array = picture(150, 150, [1, 1, 20, 20])
        kept.append(weakref.ref(array))
        return to_image(array)

    monkeypatch.setattr(predict_module, "read_image", read)
    found = predict(Finder(), ["a.png", "b.png", "c.png"], tile=64, overlap=16, batch_size=5)
    assert len(found) == len(kept) == 3


def test_published_weights_give_the_expected_detections(real_data):
    task = task_from_checkpoint(real_data / "checkpoints" / "rtmdet_nano_person.pth")
    coco = real_data / "coco-mini"
    data = CocoDataset(coco / "val2017", coco / "annotations" / "instances_val2017.json")
    expected: dict[int, list[dict]] = {record.image_id: [] for record in data.records}
    for one in json.loads((coco / "expected_person_detections_320.json").read_text()):
        expected[one["image_id"]].append(one)
    paths = [coco / "val2017" / record.file_name for record in data.records]
    settings = {"input_size": 320, "score_threshold": 0.05, "nms_iou": 0.6, "max_per_level": 1000, "max_per_image": 100}
    found = predict(task.model, paths, batch_size=16, **settings)
    compared = 0
    for record, one in zip(data.records, found, strict=True):
        # What is near the threshold may fall on either side of it.
        sure = one[one.scores >= 0.3 + 0.002]
        wanted = sorted(expected[record.image_id], key=lambda entry: -entry["score"])
        assert len(sure) <= len(wanted), record.file_name
        assert len(wanted) <= int((one.scores >= 0.3 - 0.002).sum()), record.file_name
        for entry in wanted:
            x, y, width, height = entry["bbox"]
            box = torch.tensor([x, y, x + width, y + height])
            difference = (one.boxes - box).abs().amax(dim=1)
            nearest = int(difference.argmin())
            assert difference[nearest] <= 0.5, record.file_name
            assert abs(one.scores[nearest].item() - entry["score"]) <= 0.002, record.file_name
            compared += 1
    assert compared == 220


# Of the outputs' spread. Random weights pass rounding on many times larger than trained ones; another network's outputs
# would be more than one spread away.
SHARES = {"fp32": 3e-4, "bf16": 0.7, "fp16": 0.15}


def settled(name: str, seed: int, images: torch.Tensor):
    torch.manual_seed(seed)
    return settle_norms(create_model(name, 3, **SMALL), images)


@pytest.mark.parametrize("precision", SHARES)
@pytest.mark.parametrize("name", ["rtmdet-s", "rtmdet-ins-s", "rtmdet-r-s"])
def test_prepared_model_computes_the_same_to_its_precision(name, precision):
    images = noise(2, 3, 256, 256, seed=5)
    model = settled(name, 5, images)
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    prepared = prepare_inference(model, precision=precision)
    with torch.no_grad():
        plain, faster = model(images), prepared(images)
    for field in ["logits", "boxes"] + (["kernels", "mask_features"] if "ins" in name else []):
        one, other = getattr(plain, field), getattr(faster, field).float()
        error = (one - other).abs().mean() / one.std()
        assert error < SHARES[precision], field
        if precision != "fp32" and field != "boxes":
            assert error > SHARES["fp32"], field
    assert faster.boxes.dtype == torch.float32
    assert len(list(prepared.modules())) < len(list(model.modules()))  # batch norm is gone
    assert all(torch.equal(kept[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("precision", SHARES)
@pytest.mark.parametrize("name", ["rtmdet-s", "rtmdet-ins-s", "rtmdet-r-s"])
def test_prepared_model_finds_objects_in_pixels(name, precision):
    image = np.random.default_rng(6).integers(0, 255, (200, 320, 3), dtype=np.uint8)
    model = settled(name, 6, normalize(to_image(image)[None]))
    settings = {"input_size": 320, "score_threshold": 0.0, "max_per_image": 20}
    prepared = prepare_inference(model, precision=precision)
    (plain,), (found,) = (predict(one, image, **settings) for one in (model, prepared))
    assert len(found) == len(plain) == 20
    assert found.boxes.dtype == found.scores.dtype == torch.float32
    if precision == "fp32":
        assert_close(found.scores, plain.scores, rtol=1e-3, atol=0)
    if "ins" in name:
        assert found.masks.shape == (20, 200, 320)
        assert found.masks.dtype == torch.bool


def test_prepared_model_of_unknown_precision_is_refused():
    with pytest.raises(SettingError, match="precision is 'half', but must be one of fp32, bf16, fp16"):
        prepare_inference(small_model(), precision="half")


@pytest.mark.slow
def test_compiled_model_computes_the_same():
    images = noise(2, 3, 256, 256, seed=7)
    model = settled("rtmdet-s", 7, images)
    prepared = prepare_inference(model, compiled=True)
    with torch.no_grad():
        plain, faster = model(images), prepared(images)
    for one, other in ((plain.logits, faster.logits), (plain.boxes, faster.boxes)):
        assert (one - other).abs().mean() < SHARES["fp32"] * one.std()
    image = np.random.default_rng(7).integers(0, 255, (200, 320, 3), dtype=np.uint8)
    found = predict(prepared, [image] * 3, batch_size=2, input_size=256, score_threshold=0.0, max_per_image=20)
    assert [len(one) for one in found] == [20] * 3
