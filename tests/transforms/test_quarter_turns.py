"""A rotated scene turned by a quarter gives the same boxes turned: pixels, files, overlaps, matching, the network itself.

A quarter turn is clockwise on the screen, as ``np.rot90(image, -1)``: in an image of height H the point (x, y) goes to
(H - y, x), and an angle grows by pi/2. It moves whole pixels, so nothing is lost by it and everything can be compared.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from made_dota import write_dota
from PIL import Image
from torch import Tensor, nn

from rtmdet_lab.assigners.factory import build_assigner
from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import AssignerConfig, ExperimentConfig
from rtmdet_lab.core.structures import DensePredictions, Detections, ImageMeta, Priors, Targets
from rtmdet_lab.data.dota import DotaDataset
from rtmdet_lab.data.label_file import read_label_file
from rtmdet_lab.data.tile_split import split_dota
from rtmdet_lab.data.tiles import merge_windows, parse_window_name
from rtmdet_lab.evaluation.dota import DotaEvaluator
from rtmdet_lab.geometry.priors import decode_rotated, point_grid
from rtmdet_lab.geometry.rotated import (
    normalise_angle,
    points_in_rboxes,
    quads_to_rboxes,
    rboxes_to_boxes,
    rboxes_to_quads,
    rotated_iou,
    rotated_nms,
)
from rtmdet_lab.tasks.factory import build_task
from rtmdet_lab.tasks.rotated import GEOMETRY, to_original_rotated
from rtmdet_lab.transforms.base import to_array, to_image
from rtmdet_lab.transforms.geometric import Resize
from rtmdet_lab.transforms.rotated import flip_rotated, rotate_sample

SAME = 0.999  # least IoU of a box with the one it must be
CLASSES = ["ship", "harbor"]


def turned_boxes(boxes: Tensor, height: float) -> Tensor:
    """Returns boxes (..., 5) after a quarter turn of an image of ``height`` pixels."""
    x, y, w, h, angle = boxes.unbind(-1)
    return torch.stack([height - y, x, w, h, normalise_angle(angle + math.pi / 2)], -1)


def turned_points(points: Tensor, height: float) -> Tensor:
    return torch.stack([height - points[..., 1], points[..., 0]], -1)


def turned_lines(lines: list[str], height: int) -> list[str]:
    """Returns lines of a label file after a quarter turn."""
    turned = []
    for line in lines:
        fields = line.split()
        corners = [(height - float(y), float(x)) for x, y in zip(fields[:8:2], fields[1:8:2], strict=True)]
        turned.append(" ".join([*(f"{value:.6f}" for corner in corners for value in corner), *fields[8:]]))
    return turned


def made_boxes(generator: torch.Generator, count: int, height: float, width: float, sides=(6.0, 40.0)) -> Tensor:
    least = torch.tensor([0, 0, sides[0], sides[0], -math.pi / 2])
    return least + torch.rand(count, 5, generator=generator) * (
        torch.tensor([width, height, sides[1], sides[1], math.pi / 2]) - least
    )


def same(found: Tensor, expected: Tensor) -> bool:
    """Whether two lists of boxes are the same, one by one."""
    return len(found) == len(expected) and bool((rotated_iou(found.double(), expected.double(), aligned=True) > SAME).all())


# ---- pixels


def made_sample(seed: int, height: int, width: int):
    """Noise with boxes: any pixel in a wrong place would be seen."""
    pixels = np.random.default_rng(seed).integers(1, 256, (height, width, 3), dtype=np.uint8)
    boxes = made_boxes(torch.Generator().manual_seed(seed), 12, height, width)
    size = (height, width)
    meta = ImageMeta(seed, size, canvas_size=size)
    return to_image(pixels), {"boxes": boxes, "labels": torch.arange(12), "meta": meta}


def turned_sample(image, target):
    """The sample as another camera would have taken it: width and height change places."""
    height, width = image.shape[-2:]
    meta = dataclasses.replace(target["meta"], original_size=(width, height), canvas_size=(width, height))
    array = np.ascontiguousarray(np.rot90(to_array(image), -1))
    return to_image(array), dict(target, boxes=turned_boxes(target["boxes"], height), meta=meta)


def on_canvas(image, target, height: int, width: int):
    """The sample in the middle of a black canvas; both sizes are even or both odd, so that pixels stay whole."""
    array, canvas = to_array(image), np.zeros((height, width, 3), np.uint8)
    down, right = (height - array.shape[0]) // 2, (width - array.shape[1]) // 2
    top, left = max(down, 0), max(right, 0)
    part = array[max(-down, 0) :, max(-right, 0) :][: height - top, : width - left]
    canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
    boxes = target["boxes"] + torch.tensor([right, down, 0.0, 0, 0])
    inside = ((boxes[:, :2] >= 0) & (boxes[:, :2] < torch.tensor([width, height]))).all(1)
    return canvas, boxes[inside], target["labels"][inside]


@pytest.mark.parametrize("turns", [-2, -1, 1, 2])
@pytest.mark.parametrize("size", [(96, 96), (51, 51), (64, 100), (100, 64), (33, 87), (7, 5)])
@pytest.mark.parametrize("seed", range(3))
def test_turning_a_sample_moves_whole_pixels_and_the_boxes_with_them(turns, size, seed):
    sample = made_sample(seed, *size)
    found, target = rotate_sample(*sample, turns * math.pi / 2)
    expected = sample
    for _ in range(turns % 4):
        expected = turned_sample(*expected)
    pixels, boxes, labels = on_canvas(*expected, *size)
    np.testing.assert_array_equal(to_array(found), pixels)
    assert target["labels"].tolist() == labels.tolist()
    assert same(target["boxes"], boxes)


@pytest.mark.parametrize("size", [(96, 96), (64, 101)])
@pytest.mark.parametrize("seed", range(3))
def test_mirroring_goes_with_turning(size, seed):
    sample = made_sample(seed, *size)
    for one, other in [
        (flip_rotated(*sample, True, True), turned_sample(*turned_sample(*sample))),
        (turned_sample(*flip_rotated(*sample, True, False)), flip_rotated(*turned_sample(*sample), False, True)),
        (turned_sample(*flip_rotated(*sample, False, True)), flip_rotated(*turned_sample(*sample), True, False)),
    ]:
        np.testing.assert_array_equal(to_array(one[0]), to_array(other[0]))
        assert same(one[1]["boxes"], other[1]["boxes"])


@pytest.mark.parametrize("size", [(96, 96), (64, 101), (300, 77)])
@pytest.mark.parametrize("side", [64, 160, 224])
def test_fitting_the_canvas_and_coming_back_go_with_turning(size, side):
    sample = made_sample(side, *size)
    image, target = Resize(side)(*sample)
    turned_image, turned_target = Resize(side)(*turned_sample(*sample))
    expected_image, expected_target = turned_sample(image, target)
    difference = to_array(turned_image).astype(int) - to_array(expected_image)
    assert np.abs(difference).max() <= 1  # rows before columns, or columns before rows: one rounding apart
    assert same(turned_target["boxes"], expected_target["boxes"])
    back = to_original_rotated(turned_target["boxes"], turned_target["meta"])
    assert same(back, turned_boxes(sample[1]["boxes"], size[0]))


# ---- files: labels, windows, scores


def separate_lines(seed: int, height: int, width: int, count: int = 60) -> tuple[list[str], Tensor]:
    """Objects of two classes on the image, whole, that hardly overlap: suppression leaves them alone."""
    generator = torch.Generator().manual_seed(seed)
    boxes = made_boxes(generator, 6 * count, height, width, sides=(8.0, 40.0))
    around = rboxes_to_boxes(boxes)
    boxes = boxes[((around >= 0) & (around <= torch.tensor([width, height] * 2))).all(1)]
    boxes = boxes[rotated_nms(boxes, torch.rand(len(boxes), generator=generator), torch.zeros(len(boxes)), 0.02)][:count]
    lines = []
    for number, corners in enumerate(rboxes_to_quads(boxes.double()).tolist()):
        lines.append(" ".join([*(f"{value:.3f}" for value in corners), CLASSES[number % 2], "0"]))
    return lines, boxes


def write_scene(folder: Path, pixels: np.ndarray, lines: list[str]) -> tuple[Path, Path]:
    images, labels = write_dota(folder, {"scene": lines})
    Image.fromarray(pixels).save(images / "scene.png")
    return images, labels


def write_both(folder: Path, seed: int, height: int, width: int) -> tuple[tuple[Path, Path], tuple[Path, Path], Tensor]:
    """Writes a scene and the scene turned; returns their folders and the boxes of the first."""
    lines, boxes = separate_lines(seed, height, width)
    assert len(boxes) > 10
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    first = write_scene(folder / "plain", pixels, lines)
    return first, write_scene(folder / "turned", np.rot90(pixels, -1), turned_lines(lines, height)), boxes


def merged_from_windows(images: Path, labels: Path, out: Path, **settings) -> tuple[Detections, dict]:
    """Returns the objects of all windows, merged as detections would be, and the report of the split."""
    report = split_dota(images, labels, out, progress=False, **settings)
    found = []
    for path in sorted(report["labels"].iterdir()):
        file = read_label_file(path)
        classes = torch.tensor([CLASSES.index(name) for name in file.names], dtype=torch.int64)
        boxes = quads_to_rboxes(torch.from_numpy(file.quads)).float()
        found.append(Detections(boxes, torch.ones(len(boxes)), classes, meta=ImageMeta(path.stem)))
    (merged,) = merge_windows(found, [ImageMeta("scene")], patch=report["patch"])
    return merged, report


def assert_same_set(found: Detections, boxes: Tensor) -> None:
    """Every box is found once, with its class, and nothing else."""
    assert len(found) == len(boxes)
    for label in range(2):
        mine = boxes[label::2]
        best = rotated_iou(mine, found.boxes[found.labels == label]).max(1)
        assert (best.values > SAME).all()
        assert len(set(best.indices.tolist())) == len(mine)


@pytest.mark.parametrize(
    ("size", "settings"),
    [
        ((256, 256), {}),
        ((300, 420), {}),  # the last windows of a row are moved back: others than those of the turned scene
        ((300, 420), {"scales": (0.5, 1.0, 1.5)}),
        ((90, 200), {}),  # windows reach past the image
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_windows_of_a_turned_scene_give_its_objects_turned(size, settings, seed, tmp_path):
    plain_files, turned_files, boxes = write_both(tmp_path, seed, *size)
    cut = {"patch": 128, "overlap": 64} | settings
    plain, report = merged_from_windows(*plain_files, tmp_path / "plain-cut", **cut)
    turned, turned_report = merged_from_windows(*turned_files, tmp_path / "turned-cut", **cut)
    assert turned_report["windows"] == report["windows"] > 1
    assert_same_set(plain, boxes)
    assert_same_set(turned, turned_boxes(boxes, size[0]))


def test_windows_of_a_turned_scene_are_the_windows_turned_where_they_divide_it(tmp_path):
    plain_files, turned_files, _ = write_both(tmp_path, 5, 256, 384)
    cut = {"patch": 128, "overlap": 64, "progress": False}
    plain, turned = split_dota(*plain_files, tmp_path / "a", **cut), split_dota(*turned_files, tmp_path / "b", **cut)
    assert (plain["windows"], plain["objects"], plain["difficult"]) == (15, turned["objects"], turned["difficult"])
    for path in plain["images"].iterdir():
        window = parse_window_name(path.stem)
        other = window._replace(x=256 - 128 - window.y, y=window.x).name
        pixels, expected = (np.asarray(Image.open(one)) for one in (turned["images"] / f"{other}.png", path))
        np.testing.assert_array_equal(pixels, np.rot90(expected, -1))
        mine, theirs = (
            read_label_file(plain["labels"] / f"{path.stem}.txt"),
            read_label_file(turned["labels"] / f"{other}.txt"),
        )
        assert (mine.names, mine.difficult.tolist()) == (theirs.names, theirs.difficult.tolist())
        boxes = quads_to_rboxes(torch.from_numpy(mine.quads))
        assert same(quads_to_rboxes(torch.from_numpy(theirs.quads)), turned_boxes(boxes, 128))


@pytest.mark.parametrize("seed", range(4))
def test_scores_of_a_turned_scene_are_the_same(seed, tmp_path):
    height = 300
    plain_files, turned_files, boxes = write_both(tmp_path, seed, height, 420)
    generator = torch.Generator().manual_seed(seed)
    moved = boxes + torch.randn(boxes.shape, generator=generator) * torch.tensor([2.0, 2.0, 2.0, 2.0, 0.1])
    scores = torch.rand(len(boxes), generator=generator)
    labels = torch.arange(len(boxes)) % 2
    results = []
    for files, found in ((plain_files, moved), (turned_files, turned_boxes(moved, height))):
        data = DotaDataset(*files, classes=CLASSES)
        evaluator = DotaEvaluator(CLASSES)
        _, target = data.load(0)
        truth = Targets(target["boxes"], target["labels"], ignore=target["ignore"], meta=target["meta"])
        evaluator.add([Detections(found, scores, labels)], [truth])
        results.append((evaluator.summary(), evaluator.per_class()))
    assert 0.05 < results[0][0]["AP"] < results[0][0]["AP50"] < 1
    assert results[1][0] == pytest.approx(results[0][0], abs=1e-9)
    assert results[1][1] == results[0][1]


def test_real_labels_turned_are_their_boxes_turned(real_data):
    folder = real_data / "dota-sample"
    for path in sorted((folder / "labelTxt").iterdir()):
        quads = torch.from_numpy(read_label_file(path).quads)
        (image,) = (folder / "images").glob(f"{path.stem}.*")
        height = Image.open(image).height
        corners = turned_points(quads.reshape(-1, 4, 2), height).reshape(-1, 8)
        boxes, found = quads_to_rboxes(quads), quads_to_rboxes(corners)
        overlaps = rotated_iou(found, turned_boxes(boxes, height), aligned=True)
        # Corners drawn by hand may have two smallest rectangles, equally large; rounding decides which one is taken.
        twofold = (found[:, 2:4].prod(1) / boxes[:, 2:4].prod(1) - 1).abs() < 1e-4
        assert ((overlaps > SAME) | twofold).all()
        assert (overlaps > SAME).float().mean() > 0.99


# ---- overlaps, suppression, matching


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("side", [64, 1024])
def test_overlaps_and_suppression_of_turned_boxes_are_the_same(seed, side):
    generator = torch.Generator().manual_seed(seed)
    boxes = made_boxes(generator, 150, side, side, sides=(1.0, side / 4))
    turned = turned_boxes(boxes, side)
    torch.testing.assert_close(rotated_iou(turned, turned), rotated_iou(boxes, boxes), atol=1e-4, rtol=0)
    points = torch.rand(500, 2, generator=generator) * side
    assert (points_in_rboxes(turned_points(points, side), turned) == points_in_rboxes(points, boxes)).float().mean() > 0.9999
    scores, labels = torch.rand(150, generator=generator), torch.randint(0, 3, (150,), generator=generator)
    for threshold in (0.1, 0.5):
        kept = rotated_nms(boxes, scores, labels, threshold)
        assert rotated_nms(turned, scores, labels, threshold).tolist() == kept.tolist()


def made_matching(seed: int, side: int = 128, images: int = 2):
    """Predictions on the true grid and objects; and both turned. The points stay in their order."""
    generator = torch.Generator().manual_seed(seed)
    priors = point_grid([(side // stride, side // stride) for stride in (8, 16, 32)], (8, 16, 32))
    count = len(priors)
    logits = torch.randn(images, count, 3, generator=generator)
    distances = (torch.randn(images, count, 4, generator=generator) * 0.5).exp() * 8
    angles = torch.rand(images, count, generator=generator) * 6 - 3
    boxes = decode_rotated(priors.points, distances, angles)
    # Cells keep their points when the scene is turned, so these lie at other corners of the cells than the head's.
    other = Priors(turned_points(priors.points, side), priors.strides)
    truth = [made_boxes(generator, number, side, side, sides=(10.0, 60.0)) for number in range(3, 3 + images)]
    labels = [torch.randint(0, 3, (len(one),), generator=generator) for one in truth]
    plain = DensePredictions(logits, boxes, priors), list(map(Targets, truth, labels))
    turned = DensePredictions(logits, turned_boxes(boxes, side), other)
    return plain, (turned, [Targets(turned_boxes(one, side), label) for one, label in zip(truth, labels, strict=True)])


# Not SimOTA: the 100000 that its points outside cost leave two digits after the point, and ties are a matter of rounding.
@pytest.mark.parametrize("kind", ["dynamic_soft_label", "atss", "task_aligned"])
@pytest.mark.parametrize("seed", range(5))
def test_turned_points_learn_the_same_objects(kind, seed):
    plain, turned = made_matching(seed)
    assigner = build_assigner(AssignerConfig(kind=kind), GEOMETRY)
    found, expected = assigner(*turned), assigner(*plain)
    assert expected.positive.sum() > 10
    assert torch.equal(found.gt_index, expected.gt_index)
    torch.testing.assert_close(found.quality, expected.quality, atol=1e-4, rtol=0)


# ---- the network


@pytest.mark.parametrize("seed", range(5))
def test_a_turned_prediction_is_its_box_turned_in_both_ways_of_writing_it(seed):
    """The same distances with the angle a quarter on, or the same angle with the distances moved on by one side."""
    generator = torch.Generator().manual_seed(seed)
    side = 256
    points = torch.rand(200, 2, generator=generator) * side
    distances = torch.rand(200, 4, generator=generator) * 40 + 1
    angles = torch.rand(200, generator=generator) * 20 - 10
    expected = turned_boxes(decode_rotated(points, distances, angles), side)
    moved = turned_points(points, side)
    torch.testing.assert_close(decode_rotated(moved, distances, angles + math.pi / 2), expected, atol=2e-3, rtol=1e-5)
    left, top, right, bottom = distances.unbind(1)
    permuted = torch.stack([bottom, left, top, right], 1)
    assert same(decode_rotated(moved, permuted, angles), expected)


def turn_network(model: nn.Module) -> None:
    """Turns a rotated model by a quarter, in place: turned images give its maps turned, and angles pi/2 larger.

    A convolution of stride 2 pads one row at the top and one column at the left of a map with even sides; the turned one
    has its column at the right.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = torch.rot90(module.weight.data, -1, (2, 3)).contiguous()
            if module.stride == (2, 2):
                assert module.kernel_size == (3, 3)
                module.padding = (0, 0)
                module.register_forward_pre_hook(lambda _, inputs: nn.functional.pad(inputs[0], (0, 1, 1, 0)))
    for predictor in set(model.bbox_head.rtm_ang):  # the levels may share one
        predictor.bias.data += math.pi / 2


def lively(model: nn.Module, seed: int) -> nn.Module:
    """Draws the weights of a fresh head so that its boxes differ in place, form and angle."""
    generator = torch.Generator().manual_seed(seed)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
        elif name.startswith("bbox_head") and isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.data.normal_(0, 1.5 / math.sqrt(fan_in), generator=generator)
    for predictor in set(model.bbox_head.rtm_cls):
        predictor.bias.data.zero_()
    for predictor in set(model.bbox_head.rtm_reg):
        predictor.weight.data *= 0.4  # more would make boxes a thousand times as long as wide
    return model


def turned_order(sizes: list[tuple[int, int]]) -> Tensor:
    """Returns, for each point of the turned maps in their order, which point of the plain maps of ``sizes`` it is."""
    order, start = [], 0
    for height, width in sizes:
        order.append(torch.rot90(torch.arange(height * width).reshape(height, width), -1).flatten() + start)
        start += height * width
    return torch.cat(order)


def both_predictions(task, seed: int, height: int, width: int):
    """Returns what a network says of images and the turned network of the turned images, where the latter's points are."""
    # In double precision: sums in another order would exchange detections of nearly the same score.
    images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    model = lively(task.model, seed).double().train()
    with torch.no_grad():
        plain = model(images)
        turn_network(model)
        found = model(torch.rot90(images, -1, (2, 3)))
    # Points sit at the top left corner of their cells. After the turn that corner is at the top right: one cell further.
    shift = torch.zeros(len(found.priors), 5)
    shift[:, 0] = found.priors.strides
    priors = Priors(found.priors.points + shift[:, :2], found.priors.strides)
    return plain, dataclasses.replace(found, boxes=found.boxes + shift, priors=priors)


def rotated_network(size: str, **changes):
    torch.manual_seed(0)
    settings = {"task": "rotated", "model.size": size, "model.num_classes": 3, "model.width": 0.125}
    return build_task(with_overrides(ExperimentConfig(), settings | {"data.classes": ["a", "b", "c"]} | changes))


NETWORKS = [
    ("tiny", {"model.exp_on_reg": True}),
    ("m", {"model.kernel_size": 7}),
    ("l", {"model.head.sharing": "all", "model.backbone.spp": False}),
    ("s", {"model.exp_on_reg": True, "model.depthwise": True, "model.head.sharing": "none"}),
]


@pytest.mark.parametrize(("size", "changes"), NETWORKS)
@pytest.mark.parametrize(("height", "width"), [(96, 96), (64, 128)])
@pytest.mark.parametrize("seed", range(2))
def test_turned_network_on_the_turned_image_finds_the_boxes_turned(size, changes, height, width, seed):
    task = rotated_network(size, **changes)
    plain, found = both_predictions(task, seed, height, width)
    order = turned_order([(height // stride, width // stride) for stride in (8, 16, 32)])
    torch.testing.assert_close(found.priors.points, turned_points(plain.priors.points[order], height))
    torch.testing.assert_close(found.logits, plain.logits[:, order], atol=1e-6, rtol=1e-6)
    for image in range(2):
        assert same(found.boxes[image], turned_boxes(plain.boxes[image, order], height))


@pytest.mark.parametrize(("height", "width"), [(96, 96), (64, 128)])
@pytest.mark.parametrize("seed", range(4))
def test_turned_network_has_the_same_losses_and_detections(height, width, seed):
    task = rotated_network("m", **{"test.score_threshold": 0.3})
    plain, found = both_predictions(task, seed, height, width)
    generator = torch.Generator().manual_seed(seed)
    truth = [made_boxes(generator, count, height, width, sides=(10.0, 50.0)) for count in (4, 0)]
    labels = [torch.randint(0, 3, (len(one),), generator=generator) for one in truth]
    expected = task.criterion(plain, list(map(Targets, truth, labels)))
    losses = task.criterion(
        found, [Targets(turned_boxes(one, height), label) for one, label in zip(truth, labels, strict=True)]
    )
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-3)
    metas = [ImageMeta(number, (height, width)) for number in range(2)]
    for one, other in zip(task.decode(plain, metas), task.decode(found, metas), strict=True):
        assert len(one) > 30
        assert other.labels.tolist() == one.labels.tolist()
        torch.testing.assert_close(other.scores, one.scores, atol=1e-4, rtol=0)
        assert same(other.boxes, turned_boxes(one.boxes, height))
