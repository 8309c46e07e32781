"""Images looked at by windows, in several sizes and mirrored, against what is done by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from made_finder import Finder, picture
from made_networks import settle_norms
from PIL import Image
from torch import nn
from torchvision.ops import batched_nms

from rtmdet_lab.config.presets import resolve_test
from rtmdet_lab.config.settings import TestConfig
from rtmdet_lab.core.structures import Detections, ImageMeta
from rtmdet_lab.data.tile_split import split_dota
from rtmdet_lab.data.tiles import Window, lay_windows, merge_windows
from rtmdet_lab.engine.predict import predict
from rtmdet_lab.geometry.rotated import quads_to_rboxes, rboxes_to_quads, rotated_iou
from rtmdet_lab.tasks.factory import create_model, decode_for
from rtmdet_lab.tasks.test_time import View, canvas_size, detect, from_canvas, has_views, lay_views, to_canvas
from rtmdet_lab.transforms.base import to_image
from rtmdet_lab.transforms.normalize import normalize

TASKS = ("detection", "rotated")
# Few enough boxes to be quick, enough to overlap.
LOW = {"score_threshold": 0.35, "max_per_image": 40, "batch_size": 1}


@pytest.fixture(scope="module")
def models():
    """Returns a small network of random weights per task."""
    made = {}
    images = np.stack([noise_image(128, 128, seed) for seed in range(8)])
    for number, image in enumerate(images):  # padding, more and more
        image[128 - 12 * number :], image[:, 128 - 6 * number :] = 114, 114
    for task, name in zip(TASKS, ("rtmdet-tiny", "rtmdet-r-tiny"), strict=True):
        torch.manual_seed(0)
        model = create_model(name, 3, width=0.125, exp_on_reg=True)
        settle_norms(model, normalize(torch.from_numpy(images).permute(0, 3, 1, 2)))
        head = model.bbox_head
        for predictors, bias, spread in ((head.rtm_cls, -1.0, 0.3), (head.rtm_reg, 0.4, 0.02)):
            for one in predictors:
                nn.init.normal_(one.weight, std=spread)
                nn.init.constant_(one.bias, bias)
        for one in getattr(head, "rtm_ang", ()):
            nn.init.normal_(one.weight, std=0.3)
        made[task] = model
    return made


def noise_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 6 + 1, width // 6 + 1, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def settings(task: str = "rotated", **own) -> TestConfig:
    return resolve_test(TestConfig(**{"input_size": 64} | own), task)


def assert_same(found: Detections, expected: Detections) -> None:
    assert len(found) == len(expected)
    torch.testing.assert_close(found.boxes, expected.boxes, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-5, atol=1e-6)
    assert torch.equal(found.labels, expected.labels)


def mirrored(boxes: torch.Tensor, width: int) -> torch.Tensor:
    if boxes.shape[1] == 4:
        return torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
    quads = rboxes_to_quads(boxes).reshape(-1, 4, 2) * torch.tensor([-1.0, 1]) + torch.tensor([float(width), 0])
    return quads_to_rboxes(quads.reshape(-1, 8))


def overlaps(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Returns the overlap of each box with its partner; upright boxes as rotated ones without a turn."""
    if a.shape[1] == 4:
        zero = torch.zeros(len(a), 1)
        a, b = (torch.cat([(one[:, :2] + one[:, 2:]) / 2, one[:, 2:] - one[:, :2], zero], dim=1) for one in (a, b))
    return rotated_iou(a, b, aligned=True)


# ---- which looks


def test_plain_settings_are_one_look_at_the_whole_image():
    config = settings()
    assert not has_views(config)
    assert lay_views((100, 300), "rotated", config) == [View(None, 64)]
    assert canvas_size(config) == 64


def test_windows_are_those_of_the_split_at_every_scale():
    config = settings(tile=64, overlap=16, tta_scales=(1.0, 0.5))
    views = lay_views((150, 200), "rotated", config)
    expected = lay_windows("", (150, 200), 64, 16) + lay_windows("", (150, 200), 128, 32)
    assert [view.window for view in views] == expected
    assert {view.side for view in views} == {64}
    assert canvas_size(config) == 64


def test_sizes_are_shares_of_the_input_on_the_canvas_of_the_largest():
    config = settings("detection", input_size=640, tta=True)
    views = lay_views((480, 640), "detection", config)
    plain, flipped = (False, False), (True, False)
    assert views == [View(None, side, mirror) for side in (640, 320, 960) for mirror in (plain, flipped)]
    assert canvas_size(config) == 960
    assert canvas_size(settings("detection", input_size=320, tta_scales=(1.0, 1.15))) == 384  # 368 is no multiple of 32


def test_rotated_boxes_are_mirrored_both_ways():
    views = lay_views((64, 64), "rotated", settings(tta_flip=True))
    assert [view.mirror for view in views] == [(False, False), (True, False), (False, True), (True, True)]


def test_network_sees_the_part_resized_mirrored_and_padded_in_this_order():
    pixels = noise_image(60, 80)
    meta = ImageMeta("a", (60, 80), canvas_size=(60, 80))
    shown, meta_shown = to_canvas(pixels, meta, View(None, 80, (True, False)), 96)
    assert shown.shape == (96, 96, 3)
    assert np.array_equal(shown[:60, :80], pixels[:, ::-1])
    assert (shown[60:] == 114).all()
    assert (shown[:, 80:] == 114).all()
    assert (meta_shown.scale, meta_shown.canvas_size) == ((1.0, 1.0), (96, 96))
    shown, meta_shown = to_canvas(pixels, meta, View(Window("a", 64, 16, 0), 32, (False, True)), 32)
    assert shown.shape == (32, 32, 3)
    assert (meta_shown.original_size, meta_shown.scale) == ((64, 64), (0.5, 0.5))
    assert (shown[:2] == (124, 116, 104)).all()  # beyond the image's 60 rows, as the split fills
    assert np.array_equal(pixels, noise_image(60, 80))


# ---- windows


@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0)])
def test_whole_image_is_what_its_patches_on_disk_give(models, tmp_path, scales):
    size = (230, 310)
    (tmp_path / "images").mkdir()
    Image.fromarray(noise_image(*size)).save(tmp_path / "images" / "a.png")
    patches = split_dota(tmp_path / "images", None, tmp_path / "out", 128, 40, scales, progress=False)
    paths = [patches["images"] / f"{one.name}.png" for one in windows_of(size, scales)]
    by_patch = predict(models["rotated"], paths, input_size=128, **LOW)
    for one, path in zip(by_patch, paths, strict=True):
        one.meta = ImageMeta(path.stem, one.meta.original_size)
    (expected,) = merge_windows(by_patch, [ImageMeta("a", size)], patch=128)
    views = {} if scales == (1.0,) else {"tta_scales": scales}
    (found,) = predict(models["rotated"], tmp_path / "images" / "a.png", tile=128, overlap=40, **views, **LOW)
    assert len(expected) > 50
    assert len(expected) < sum(map(len, by_patch))
    assert_same(found, expected)
    assert found.meta == ImageMeta("a.png", size, canvas_size=size, path=str(tmp_path / "images" / "a.png"))


def windows_of(size, scales):
    return [one for scale in scales for one in lay_windows("a", size, int(128 / scale), int(40 / scale))]


def test_object_is_found_whole_where_a_window_holds_it():
    # Every window of 64 with 40 pixels overlap sees its part; the rectangle of 30 x 20 is whole in one of them.
    box = [75.0, 90, 105, 110]
    model = Finder()
    (found,) = predict(model, picture(150, 180, [75, 90, 105, 110]), tile=64, overlap=40, nms_iou=1.0, batch_size=4)
    assert box in found.boxes.tolist()
    assert {shape[1:] for shape in model.batches} == {(3, 64, 64)}
    assert max(shape[0] for shape in model.batches) == 4
    assert sum(shape[0] for shape in model.batches) == len(lay_windows("", (150, 180), 64, 40))


def test_small_image_is_one_window_in_its_own_size():
    model = Finder()
    (found,) = predict(model, picture(30, 50, [5, 6, 20, 26]), tile=64, overlap=16)
    assert found.boxes.tolist() == [[5.0, 6, 20, 26]]
    assert model.batches == [(1, 3, 64, 64)]


def test_limit_of_detections_is_per_window():
    (few,) = predict(Finder(), picture(64, 192, [0, 10, 192, 30]), tile=64, overlap=0, max_per_image=1)
    assert few.boxes.sort(dim=0).values.tolist() == [[left, 10, left + 64, 30] for left in (0.0, 64.0, 128.0)]


def test_windows_may_be_fitted_into_another_size(models):
    model = Finder()
    (found,) = predict(model, picture(128, 128, [72, 80, 100, 112]), tile=64, overlap=0, input_size=128)
    assert found.boxes[0].tolist() == pytest.approx([72, 80, 100, 112], abs=1)
    assert model.batches == [(4, 3, 128, 128)]


# ---- sizes and mirrors


@pytest.mark.parametrize("task", TASKS)
def test_boxes_of_a_mirrored_look_come_back(models, task):
    pixels = noise_image(72, 96)
    (alone,) = predict(models[task], np.ascontiguousarray(pixels[:, ::-1]), input_size=96, **LOW)
    (seen,) = look(models[task], pixels, View(None, 96, (True, False)), input_size=96)
    assert len(alone) > 10
    assert torch.equal(seen.scores, alone.scores)
    assert overlaps(seen.boxes, mirrored(alone.boxes, 96)).min() > 0.999


def look(model, pixels, view, **own):
    """Returns the detections of one look, in the pixels of the image."""
    config = settings(model.task, **LOW | own)
    shown, meta = to_canvas(pixels, ImageMeta(0, pixels.shape[:2]), view, canvas_size(config))
    with torch.no_grad():
        predictions = model(normalize(torch.from_numpy(shown[None].copy()).permute(0, 3, 1, 2)))
    return [from_canvas(one, view) for one in decode_for(model.task)(predictions, [meta], config)]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("tile", [None, 64])
def test_mirrored_image_gives_mirrored_detections(models, task, tile):
    pixels = noise_image(96, 112)
    # Windows of 64 with 16 overlap lie symmetrically on 112 pixels: at 0 and 48.
    own = (
        LOW | {"tta_flip": True, "input_size": 128} | ({} if tile is None else {"tile": 64, "overlap": 16, "input_size": 64})
    )
    (found,) = predict(models[task], pixels, **own)
    (other,) = predict(models[task], np.ascontiguousarray(pixels[:, ::-1]), **own)
    assert len(found) == len(other) > 10
    torch.testing.assert_close(found.scores, other.scores)
    best = overlaps(found.boxes, mirrored(other.boxes, 112))
    assert best.min() > 0.999
    (plain,) = predict(models[task], pixels, **own | {"tta_flip": False})
    assert len(plain) != len(found) or not torch.allclose(plain.boxes, found.boxes)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("tile", [{}, {"tile": 64, "overlap": 16}], ids=["whole", "windows"])
def test_one_plain_look_is_no_augmentation(models, task, tile):
    pixels = noise_image(100, 130)
    own = LOW | {"input_size": 64} | tile
    (plain,) = predict(models[task], pixels, **own)
    (found,) = predict(models[task], pixels, **own, tta_scales=(1.0,), tta_flip=False)
    assert len(plain) > 10
    assert torch.equal(found.boxes, plain.boxes)
    assert torch.equal(found.scores, plain.scores)


@pytest.mark.parametrize("size", [(96, 96), (60, 100), (130, 50)])
def test_published_looks_agree_on_what_is_there(size):
    box = [size[1] // 4, size[0] // 4, size[1] // 2 + 10, size[0] // 2 + 10]
    model = Finder()
    (found,) = predict(model, picture(*size, box), input_size=64, tta=True)
    assert model.batches == [(6, 3, 96, 96)]
    pixel = max(size) / 32  # of the coarsest look
    assert (found.boxes - torch.tensor(box)).abs().max() <= 1.1 * pixel
    assert len(found) >= 1


def test_result_is_the_suppression_of_all_looks_together(models):
    pixels, model = noise_image(64, 80), models["detection"]
    parts = [
        one
        for side in (64, 32, 96)
        for mirror in ((False, False), (True, False))
        for one in look(model, pixels, View(None, side, mirror), input_size=64, tta=True)
    ]
    boxes, scores, labels = (torch.cat([getattr(one, name) for one in parts]) for name in ("boxes", "scores", "labels"))
    (found,) = predict(model, pixels, input_size=64, tta=True, **LOW)
    for iou, most in ((0.6, 100), (0.3, 7)):
        keep = batched_nms(boxes, scores, labels, iou)[:most]
        (found,) = predict(model, pixels, input_size=64, tta=True, tta_nms_iou=iou, tta_max_per_image=most, **LOW)
        assert_same(found, Detections(boxes[keep], scores[keep], labels[keep]))


# ---- the order of things


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_images_keep_their_order_whatever_the_batches(batch_size):
    sizes = [(40, 60), (150, 100), (64, 64), (90, 200)]
    images = [picture(*size, [9 * number + 3, 5, 9 * number + 30, 35]) for number, size in enumerate(sizes)]
    own = {"tile": 64, "overlap": 16, "nms_iou": 1.0}
    alone = [predict(Finder(), one, **own)[0] for one in images]
    found = predict(Finder(), images, **own, batch_size=batch_size)
    assert len({len(one) for one in alone}) > 1
    for one, other in zip(found, alone, strict=True):
        assert_same(one, other)
    assert [one.meta.image_id for one in found] == [0, 1, 2, 3]


def test_progress_counts_the_looks_of_each_image():
    told = []
    predict(
        Finder(), [picture(64, 200, [1, 1, 9, 9])], tile=64, overlap=0, batch_size=3, progress=lambda *one: told.append(one)
    )
    assert told == [(3, 4), (4, 4)]


def test_images_are_asked_for_one_by_one():
    events = []

    def samples():
        for number in range(3):
            events.append(f"image {number}")
            yield to_image(picture(64, 128, [1, 1, 9, 9])), ImageMeta(number)

    def decode(predictions, metas):
        return [Detections(torch.zeros(0, 5), torch.zeros(0), torch.zeros(0, dtype=torch.int64), meta=one) for one in metas]

    config = settings(tile=64, overlap=0, batch_size=2)
    for found in detect(lambda batch: events.append(len(batch)), decode, samples(), "rotated", config):
        events.append(found.meta.image_id)
    assert events == [one for number in range(3) for one in (f"image {number}", 2, number)]


CHANGES = {
    "tile": {"tile": 96},
    "overlap": {"overlap": 40},
    "tta": {"tta": True},
    "tta_scales": {"tta_scales": (1.0, 1.5)},
    "tta_flip": {"tta_flip": True},
    "tta_nms_iou": {"tta_flip": True, "tta_nms_iou": 0.9},
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_changes_the_detections(models, name):
    pixels = noise_image(130, 150)
    before = {"tile": 64, "overlap": 16}
    before |= {other: value for other, value in CHANGES[name].items() if other != name}
    (found,) = predict(models["rotated"], pixels, **LOW | before)
    (changed,) = predict(models["rotated"], pixels, **LOW | before | CHANGES[name])
    assert len(found) != len(changed) or not torch.equal(found.boxes, changed.boxes)
