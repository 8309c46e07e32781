"""Images read at a reduced size: which, by how much, and that everything on them moves along."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from made_samples import boxes_of, extent_of
from made_sets import annotation, assert_one_sentence, content, write_annotations
from made_sets import image as entry
from PIL import Image, ImageOps
from sources import Squares

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.presets import resolve
from rtmdet_lab.config.settings import AugmentConfig, ExperimentConfig
from rtmdet_lab.core.errors import DataError, SettingError
from rtmdet_lab.core.structures import ImageMeta
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.data.dota import DotaDataset
from rtmdet_lab.data.images import read_image, read_reduced, reduction
from rtmdet_lab.data.loaders import PipelineDataset, SampleKey
from rtmdet_lab.data.reading import Reading, with_reading
from rtmdet_lab.engine.stages import plan_stages
from rtmdet_lab.experiment.verify import check_effective
from rtmdet_lab.transforms.base import image_size, to_array
from rtmdet_lab.transforms.pipelines import largest_side

ORIENTATION = 0x0112
RED = (230, 20, 20)


def photograph(height: int, width: int, boxes=(), seed: int = 0) -> Image.Image:
    """Returns slow colours with red boxes (x1 y1 x2 y2)."""
    small = np.random.default_rng(seed).integers(0, 120, (5, 6, 3), dtype=np.uint8)
    pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    for x1, y1, x2, y2 in boxes:
        pixels[y1:y2, x1:x2] = RED
    return Image.fromarray(pixels)


def coco(
    folder: Path, picture: Image.Image, boxes=(), name: str = "1.jpg", size=None, options=None, **dataset
) -> CocoDataset:
    """Returns a set of one image with objects at ``boxes``."""
    folder.mkdir(exist_ok=True)
    picture.save(folder / name, **({"quality": 95} | (options or {})))
    height, width = size or (picture.height, picture.width)
    objects = [
        annotation(
            number,
            1,
            bbox=(x1, y1, x2 - x1, y2 - y1),
            segmentation=[[x1, y1, x2, y1, x2, y2, x1, y2]],
        )
        for number, (x1, y1, x2, y2) in enumerate(boxes, start=1)
    ]
    path = write_annotations(folder / "objects.json", content([entry(1, (height, width), file_name=name)], objects))
    return CocoDataset(folder, path, **{"training": True, "skip_empty": False} | dataset)


# By how much --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [
        ((3000, 4000), 1280, 2),  # 4000 / 4 would be 1000
        ((3000, 4000), 1000, 4),
        ((3000, 4000), 1001, 2),
        ((4000, 3000), 500, 8),
        ((4000, 3000), 50, 8),  # nothing below an eighth
        ((2559, 2000), 1280, 2),  # rounded up: 1280
        ((2558, 2000), 1280, 1),
        ((480, 640), 1280, 1),
        ((3, 4000), 500, 2),  # a sliver keeps a row
        ((1, 4000), 500, 1),
        ((3000, 4000), None, 1),
    ],
)
def test_reduction_by_hand(size, side, expected):
    assert reduction(size, side) == expected


@pytest.mark.parametrize("size", [(301, 403), (403, 301), (2, 1000), (7, 1000), (9, 1000), (8, 8), (17, 15)], ids=str)
@pytest.mark.parametrize("side", [1, 51, 101, 300])
def test_decoder_reduces_by_that_much_and_rounds_up(tmp_path, size, side):
    photograph(*size).save(tmp_path / "a.jpg")
    image, whole = read_reduced(tmp_path / "a.jpg", None, side)
    factor = reduction(size, side)
    assert whole == size
    assert image_size(image) == (-(-size[0] // factor), -(-size[1] // factor))
    assert image.dtype == torch.uint8
    assert np.shares_memory(to_array(image), image.numpy())  # laid out for OpenCV


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("kind", ["RGB", "L", "CMYK", "progressive", "low quality", "MPO"])
def test_reduced_content_is_that_of_averaged_pixels(tmp_path, kind, factor):
    picture = photograph(240, 320)
    if kind in ("L", "CMYK"):
        picture = picture.convert(kind)
    options = {"progressive": {"progressive": True}, "low quality": {"quality": 40}}.get(kind, {"quality": 90})
    if kind == "MPO":
        options |= {"format": "MPO", "save_all": True, "append_images": [photograph(24, 32)]}
    picture.save(tmp_path / "a.jpg", **options)
    reduced, size = read_reduced(tmp_path / "a.jpg", None, 320 // factor)
    assert size == (240, 320)
    whole = to_array(read_image(tmp_path / "a.jpg")).astype(float)
    averaged = whole.reshape(240 // factor, factor, 320 // factor, factor, 3).mean((1, 3))
    np.testing.assert_allclose(to_array(reduced), averaged, rtol=0, atol=4)


def test_noise_is_averaged_and_not_sampled(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (240, 320), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg", quality=100)
    averaged = noise.reshape(60, 4, 80, 4).mean((1, 3))
    reduced = to_array(read_reduced(tmp_path / "a.jpg", None, 80)[0])[..., 0].astype(float)
    assert np.abs(reduced - averaged).mean() < np.abs(noise[::4, ::4] - averaged).mean() / 4


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.webp", "a.tif", "called.jpg"])
def test_other_formats_stay_whole(tmp_path, name):
    photograph(80, 100).save(tmp_path / name, format="PNG" if name == "called.jpg" else None)
    image, whole = read_reduced(tmp_path / name, None, 10)
    assert whole == image_size(image) == (80, 100)
    assert torch.equal(image, read_image(tmp_path / name))


def test_small_enough_images_are_decoded_as_ever(tmp_path):
    photograph(80, 100).save(tmp_path / "a.jpg")
    assert torch.equal(read_reduced(tmp_path / "a.jpg", None, 51)[0], read_image(tmp_path / "a.jpg"))


# What is refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_file_is_refused(tmp_path, share, options):
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    path = tmp_path / "cut.jpg"
    Image.fromarray(noise).save(path, **options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError) as error:
        read_reduced(path, None, 80)
    assert_one_sentence(error.value, str(path), "truncated")


def test_size_is_compared_before_it_is_reduced(tmp_path):
    photograph(240, 320).save(tmp_path / "a.jpg")
    assert image_size(read_reduced(tmp_path / "a.jpg", (240, 320), 80)[0]) == (60, 80)
    for other in ((60, 80), (240, 321)):
        with pytest.raises(DataError) as error:
            read_reduced(tmp_path / "a.jpg", other, 80)
        assert_one_sentence(error.value, "a.jpg is 320 x 240 pixels", f"for {other[1]} x {other[0]}")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turn(tmp_path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture = photograph(240, 320)
    picture.save(tmp_path / "a.jpg", exif=exif, quality=95)
    turned = ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg"))
    image, whole = read_reduced(tmp_path / "a.jpg", None, 160)
    assert whole == (turned.height, turned.width)
    expected = np.asarray(turned.reduce(2)).astype(int)
    np.testing.assert_allclose(to_array(image), expected, rtol=0, atol=4)
    if orientation >= 5:  # annotated as stored: left unturned
        image, whole = read_reduced(tmp_path / "a.jpg", (240, 320), 160)
        assert whole == (240, 320)
        np.testing.assert_allclose(to_array(image), np.asarray(picture.reduce(2)).astype(int), rtol=0, atol=4)
        with pytest.raises(DataError, match=r"is 240 x 320 pixels .* for 320 x 241"):
            read_reduced(tmp_path / "a.jpg", (241, 320), 160)


# What lies on them --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [50, 101, 202])
def test_boxes_lie_where_the_content_is(tmp_path, side):
    box = (83, 61, 247, 190)
    source = with_reading(coco(tmp_path, photograph(301, 403, [box]), [box]), Reading(side))
    image, target = source.load(0)
    height, width = image_size(image)
    assert width >= side
    scale = np.array([width / 403, height / 301] * 2)
    np.testing.assert_allclose(boxes_of(target)[0], box * scale, rtol=1e-6)
    assert np.abs(extent_of(image, RED, 70) - np.array(boxes_of(target)[0])).max() <= 1
    assert target["boxes"].canvas_size == (height, width)
    assert target["meta"] == ImageMeta(
        1, (301, 403), (width / 403, height / 301), canvas_size=(301, 403), path=str(tmp_path / "1.jpg")
    )


def test_object_of_the_whole_image_fills_the_reduced_one(tmp_path):
    source = coco(tmp_path, photograph(301, 403), [(0, 0, 403, 301)], outlines=True)
    _, target = with_reading(source, Reading(101)).load(0)
    assert boxes_of(target) == [pytest.approx([0, 0, 101, 76], abs=1e-4)]  # not 100.75 x 75.25
    np.testing.assert_allclose(target["outlines"].boxes(), [[0, 0, 101, 76]])


def test_image_without_objects(tmp_path):
    image, target = with_reading(coco(tmp_path, photograph(301, 403)), Reading(101)).load(0)
    assert image_size(image) == (76, 101)
    assert target["boxes"].shape == (0, 4)
    assert len(target["labels"]) == 0


def test_file_that_does_not_say_its_size(tmp_path):
    source = coco(tmp_path, photograph(301, 403), [(0, 0, 403, 301)], size=(0, 0))
    assert source.records[0].size is None
    assert boxes_of(with_reading(source, Reading(101)).load(0)) == [pytest.approx([0, 0, 101, 76], abs=1e-4)]


def test_turned_rectangles_move_with_the_image(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    photograph(300, 400, [(80, 60, 240, 120)]).save(tmp_path / "images" / "a.jpg", quality=95)
    (tmp_path / "labels" / "a.txt").write_text("80 60 240 60 240 120 80 120 ship 0\n40 80 80 40 120 80 80 120 harbor 0\n")
    source = DotaDataset(tmp_path / "images", tmp_path / "labels", training=True)
    image, target = with_reading(source, Reading(100)).load(0)
    assert image_size(image) == (75, 100)
    assert extent_of(image, RED, 70) == (20, 15, 60, 30)
    _, whole = source.load(0)
    assert whole["boxes"].shape == (2, 5)
    expected = whole["boxes"] * torch.tensor([0.25, 0.25, 0.25, 0.25, 1.0])
    torch.testing.assert_close(target["boxes"], expected)
    assert target["meta"].scale == (0.25, 0.25)
    assert image_size(with_reading(source, Reading(100)).load(0, whole=True)[0]) == (300, 400)


def test_set_that_was_given_reads_as_before(tmp_path):
    source = coco(tmp_path, photograph(300, 400))
    reduced = with_reading(source, Reading(100))
    assert image_size(source.load(0)[0]) == image_size(reduced.load(0, whole=True)[0]) == (300, 400)
    assert image_size(reduced.load(0)[0]) == (75, 100)


# The setting --------------------------------------------------------------------------------------------------------------

SIZE = 64  # of the canvas; the published jitter doubles it


def config(**changes):
    settings = {"model.size": "tiny", "augment.input_size": SIZE, "train.epochs": 2, "train.weak_epochs": 1}
    return resolve(with_overrides(ExperimentConfig(), {**settings, "data.reduced_decode": True, **changes}))


@pytest.fixture
def photographs(tmp_path):
    """Returns a set of eight photographs, just large enough to be halved where 128 pixels are asked for."""
    images, objects = [], []
    for number in range(1, 9):
        height, width = (255, 190) if number % 2 else (200, 255)
        photograph(height, width, seed=number).save(tmp_path / f"{number}.jpg")
        images.append(entry(number, (height, width), file_name=f"{number}.jpg"))
        objects += [annotation(number, number, bbox=(5, 5, width - 10, height - 10))]
    return CocoDataset(tmp_path, write_annotations(tmp_path / "objects.json", content(images, objects)), training=True)


RECIPES = {
    "published": {},
    "uncached": {"augment.partners": "uncached"},
    "without mosaic": {"augment.mosaic": False},
    "a cache too small for a mosaic": {"augment.mosaic_cache": 4},
    "resize after resize": {"augment.mosaic": False, "augment.one_resize": False},
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("stage", ["strong", "weak"])
def test_reduced_image_is_never_enlarged(photographs, monkeypatch, recipe, stage):
    plan = next(one for one in plan_stages(config(**RECIPES[recipe]), photographs) if one.name == stage)
    assert plan.source.reading.side == 2 * SIZE
    dataset = PipelineDataset(plan.source, plan.pipeline, training=True)
    enlarged, loaded = [], []
    resize, read = cv2.resize, Reading.read

    def watched(array, size, **options):
        if size[0] > array.shape[1] or size[1] > array.shape[0]:
            enlarged.append((array.shape, size))
        return resize(array, size, **options)

    def noted(self, *arguments):
        image, whole = read(self, *arguments)
        loaded.append(max(image.shape))
        return image, whole

    monkeypatch.setattr(cv2, "resize", watched)
    monkeypatch.setattr(Reading, "read", noted)
    for position in range(120):
        sample, _, failure = dataset[SampleKey(0, position, position % 8)]
        assert failure is None
        assert sample[0].shape == (3, SIZE, SIZE)
    assert not enlarged
    # A mosaic without partners shows its image twice as large.
    alone = {"published": 4, "a cache too small for a mosaic": len(loaded)}.get(recipe, 0) if stage == "strong" else 0
    assert loaded == [255] * alone + [128] * (len(loaded) - alone)


def test_limits_by_hand():
    published = resolve(with_overrides(ExperimentConfig(), {"model.size": "tiny"})).augment
    assert largest_side(published) == 1280
    for size, jitter, expected in (
        (320, (0.1, 2.0), 640),
        (640, (0.5, 1.1), 704),
        (64, (0.2, 0.5), 64),
        (1024, (1, 1), 1024),
    ):
        assert largest_side(AugmentConfig(input_size=size, resize_range=jitter)) == expected
    assert largest_side(AugmentConfig(input_size=1024), plain=True) == 1024


def test_stages_of_the_rotated_task(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for number in range(8):
        photograph(255, 200, seed=number).save(tmp_path / "images" / f"{number}.jpg")
        (tmp_path / "labels" / f"{number}.txt").write_text("20 20 120 20 120 200 20 200 ship 0\n")
    source = DotaDataset(tmp_path / "images", tmp_path / "labels", training=True)
    (plain,) = plan_stages(config(task="rotated", **{"train.weak_epochs": None}), source)
    assert plain.source.reading.side == SIZE
    mixing = plan_stages(config(task="rotated", **{"augment.rotated_recipe": "mixing"}), source)
    assert [one.source.reading.side for one in mixing] == [2 * SIZE] * 2
    for stage in (plain, *mixing):
        dataset = PipelineDataset(stage.source, stage.pipeline, training=True)
        for position in range(12):
            (image, target), _, failure = dataset[SampleKey(0, position, position % 8)]
            assert failure is None
            assert image.shape == (3, SIZE, SIZE)
            assert target["boxes"].shape[1] == 5


def test_without_the_setting_nothing_changes(photographs):
    stages = plan_stages(config(**{"data.reduced_decode": False}), photographs)
    assert all(stage.source is photographs for stage in stages)
    assert photographs.reading.side is None


def test_setting_is_seen_where_it_reads_fewer_pixels(photographs, tmp_path):
    name = "data.reduced_decode"
    few = {name: False, "train.batch_size": 4}  # there are 8 photographs
    config_of = lambda settings: config(**{**few, **settings})  # noqa: E731
    assert check_effective({name: True}, config_of, lambda asked: photographs) == {name: True}
    flat = with_overrides(config(), {"augment.input_size": 2048})
    with pytest.raises(SettingError, match=rf"'{name}' changes nothing"):
        check_effective({name: True}, lambda settings: with_overrides(flat, {**few, **settings}), lambda _: photographs)


def test_setting_for_a_set_without_files_is_refused():
    with pytest.raises(SettingError) as error:
        plan_stages(config(), Squares(8))
    assert_one_sentence(error.value, "data.reduced_decode", "turn them off")
