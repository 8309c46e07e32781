"""The published pipelines, step by step and parameter by parameter (paper.md 3.1 and 3.2)."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from made_samples import boxes_of, make_sample, snapshot
from torchvision.transforms import v2

from rtmdet_lab.config.presets import resolve_augment
from rtmdet_lab.config.settings import AugmentConfig
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.transforms.base import EmptyCrop, image_size
from rtmdet_lab.transforms.color import RandomHSV
from rtmdet_lab.transforms.fused import JitterCrop, MosaicCrop
from rtmdet_lab.transforms.geometric import Pad, RandomCrop, RandomFlip, RandomResize, Resize
from rtmdet_lab.transforms.mixing import MixUp, Mosaic
from rtmdet_lab.transforms.partners import CachedPartners, DatasetPartners
from rtmdet_lab.transforms.pipelines import strong_pipeline, test_pipeline, weak_pipeline

# size -> jitter range, mosaic cache, mixup cache, which leaves, mixup probability (paper.md 3.1; nano follows tiny)
PUBLISHED = {
    "nano": ((0.5, 2.0), 20, 10, "oldest", 0.5),
    "tiny": ((0.5, 2.0), 20, 10, "oldest", 0.5),
    "s": ((0.5, 2.0), 40, 20, "random", 1.0),
    "m": ((0.1, 2.0), 40, 20, "random", 1.0),
    "l": ((0.1, 2.0), 40, 20, "random", 1.0),
    "x": ((0.1, 2.0), 40, 20, "random", 1.0),
}
SMALL = AugmentConfig(
    input_size=64,
    mosaic_cache=6,
    mixup_cache=4,
    cache_eviction="random",
    mixup_prob=1.0,
    resize_range=(0.8, 1.5),
    partners="cached",
)
# A value that differs from SMALL's, for every setting.
ONLY_ROTATED = TASKS["rotated"].recipe("s", "plain").augment
OTHER = {
    "input_size": 96,
    "mosaic": False,
    "mixup": False,
    "partners": "uncached",
    "mosaic_cache": 8,
    "mixup_cache": 6,
    "cache_eviction": "oldest",
    "mixup_prob": 0.5,
    "resize_range": (0.5, 0.7),
    "crop": False,
    "one_resize": False,
    "hsv": False,
    "hue": 60,
    "saturation": 100,
    "value": 90,
    "flip_prob": 0.0,
}


def load(index: int):
    return make_sample(50 + index, 70 - index, [[5, 5, 45, 40], [20, 10, 50, 50]], seed=index)


def steps_of(pipeline: v2.Compose) -> list[tuple]:
    """Returns each step's class and what it was made with."""
    described = []
    for step in pipeline.transforms:
        details = {}
        for name, value in vars(step).items():
            if name in ("training",) or name.startswith("_"):
                continue
            if isinstance(value, CachedPartners):
                value = ("cached", value.max_size, value.cache_eviction, value.min_size)
            elif isinstance(value, DatasetPartners):
                value = ("uncached", value.length)
            details[name] = value
        described.append((type(step), details))
    return described


@pytest.mark.parametrize("size", PUBLISHED)
def test_strong_pipeline_has_the_published_steps(size):
    ratios, mosaic_cache, mixup_cache, pop, mixup_prob = PUBLISHED[size]
    config = resolve_augment(AugmentConfig(one_resize=False), size)
    assert steps_of(strong_pipeline(config, load, 10)) == [
        (Mosaic, {"partners": ("cached", mosaic_cache, pop, 5), "size": 640, "center_range": (0.5, 1.5)}),
        (RandomResize, {"base": 1280, "ratio_range": ratios}),
        (RandomCrop, {"size": 640, "allow_empty": False}),
        (RandomHSV, {"limits": (5, 30, 30)}),
        (RandomFlip, {"prob": 0.5}),
        (Pad, {"size": 640}),
        (MixUp, {"partners": ("cached", mixup_cache, pop, 2), "size": 640, "prob": mixup_prob, "flip_prob": 0.5}),
    ]


@pytest.mark.parametrize("size", PUBLISHED)
def test_strong_pipeline_in_one_resize_has_the_same_parameters(size):
    ratios, mosaic_cache, _, pop, _ = PUBLISHED[size]
    pipeline = strong_pipeline(resolve_augment(AugmentConfig(), size), load, 10)
    published = steps_of(strong_pipeline(resolve_augment(AugmentConfig(one_resize=False), size), load, 10))
    partners = ("cached", mosaic_cache, pop, 5)
    direct = {"partners": partners, "size": 640, "ratio_range": ratios, "center_range": (0.5, 1.5), "allow_empty": False}
    assert steps_of(pipeline) == [(MosaicCrop, direct), *published[3:]]
    alone = v2.Compose([pipeline.transforms[0].alone])  # while the cache is young
    assert steps_of(alone) == [(JitterCrop, {"base": 1280, "ratio_range": ratios, "size": 640, "allow_empty": False})]


@pytest.mark.parametrize("size", PUBLISHED)
def test_weak_pipeline_has_the_published_steps(size):
    ratios = PUBLISHED[size][0]
    rest = [(RandomHSV, {"limits": (5, 30, 30)}), (RandomFlip, {"prob": 0.5}), (Pad, {"size": 640})]
    published = weak_pipeline(resolve_augment(AugmentConfig(one_resize=False), size))
    jitter = [(RandomResize, {"base": 640, "ratio_range": ratios}), (RandomCrop, {"size": 640, "allow_empty": False})]
    assert steps_of(published) == jitter + rest
    direct = weak_pipeline(resolve_augment(AugmentConfig(), size))
    assert steps_of(direct) == [(JitterCrop, {"base": 640, "ratio_range": ratios, "size": 640, "allow_empty": False}), *rest]


def test_test_pipeline_fits_and_pads():
    assert steps_of(test_pipeline(320)) == [(Resize, {"size": 320}), (Pad, {"size": 320})]


def test_parts_that_are_switched_off_are_left_out():
    def names(**changes):
        config = resolve_augment(AugmentConfig(**changes), "s")
        return [step[0].__name__ for step in steps_of(strong_pipeline(config, load, 10))]

    assert names(mosaic=False) == ["JitterCrop", "RandomHSV", "RandomFlip", "Pad", "MixUp"]
    assert names(mixup=False) == ["MosaicCrop", "RandomHSV", "RandomFlip", "Pad"]
    assert names(hsv=False) == ["MosaicCrop", "RandomFlip", "Pad", "MixUp"]
    assert names(crop=False) == ["Mosaic", "RandomResize", "Resize", "RandomHSV", "RandomFlip", "Pad", "MixUp"]
    assert names(mosaic=False, mixup=False, crop=False, one_resize=False)[:2] == ["RandomResize", "Resize"]


def test_without_mosaic_the_jitter_is_around_the_canvas_itself():
    steps = steps_of(strong_pipeline(resolve_augment(AugmentConfig(mosaic=False), "l"), load, 10))
    assert steps[0] == (JitterCrop, {"base": 640, "ratio_range": (0.1, 2.0), "size": 640, "allow_empty": False})


def test_uncached_partners_are_those_of_the_whole_set():
    steps = steps_of(strong_pipeline(resolve_augment(AugmentConfig(partners="uncached"), "s"), load, 17))
    assert steps[0][1]["partners"] == ("uncached", 17)
    assert steps[-1][1]["partners"] == ("uncached", 17)


def stream(config: AugmentConfig, count: int = 24) -> list[dict | None]:
    """Returns what comes out of the strong pipeline for the same images and seeds."""
    pipeline = strong_pipeline(config, load, 12)
    results = []
    for number in range(count):
        torch.manual_seed(number)
        try:
            results.append(snapshot(pipeline(*load(number % 12))))
        except EmptyCrop:
            results.append(None)
    return results


@pytest.fixture(scope="module")
def default_stream():
    return stream(SMALL)


@pytest.mark.parametrize("setting", [field.name for field in dataclasses.fields(AugmentConfig) if field.name in OTHER])
def test_every_setting_changes_the_samples(setting, default_stream):
    changed = dataclasses.replace(SMALL, **{setting: OTHER[setting]})
    assert getattr(changed, setting) != getattr(SMALL, setting)
    assert stream(changed) != default_stream


@pytest.mark.parametrize("one_resize", [True, False])
def test_crops_without_objects_are_a_choice(one_resize):
    def lost(empty_crops):
        changes = {"one_resize": one_resize, "empty_crops": empty_crops, "resize_range": (1.8, 2.0), "mixup": False}
        count = 0
        for mosaic in (True, False):
            pipeline = strong_pipeline(dataclasses.replace(SMALL, **changes, mosaic=mosaic), small_corner, 12)
            for number in range(40):
                torch.manual_seed(number)
                try:
                    pipeline(*small_corner(number % 12))
                except EmptyCrop:
                    count += 1
        return count

    assert lost(False) > 10
    assert lost(True) == 0
    assert {field.name for field in dataclasses.fields(AugmentConfig)} - set(OTHER) - set(ONLY_ROTATED) == {"empty_crops"}


def small_corner(index: int):
    return make_sample(60, 60, [[0, 0, 6, 6]], seed=index)


def test_same_settings_and_seeds_give_the_same_samples(default_stream):
    assert stream(SMALL) == default_stream


@pytest.mark.parametrize("one_resize", [True, False])
def test_samples_have_the_canvas_size_and_whole_targets(one_resize):
    pipelines = [
        strong_pipeline(dataclasses.replace(SMALL, one_resize=one_resize), load, 12),
        weak_pipeline(dataclasses.replace(SMALL, one_resize=one_resize)),
    ]
    for pipeline in pipelines:
        for number in range(12):
            torch.manual_seed(number)
            try:
                image, target = pipeline(*load(number))
            except EmptyCrop:
                continue
            assert image_size(image) == (64, 64)
            assert image.dtype == torch.uint8
            assert len(target["labels"]) == len(target["boxes"]) > 0
            boxes = torch.tensor(boxes_of(target))
            assert bool((boxes[:, 2:] > boxes[:, :2]).all())
            assert bool((boxes >= 0).all())
            assert bool((boxes <= 64).all())
            assert target["meta"].canvas_size == (64, 64)


@pytest.mark.parametrize("one_resize", [True, False])
def test_images_without_objects_pass_everything(one_resize):
    config = dataclasses.replace(SMALL, one_resize=one_resize)
    for pipeline in (strong_pipeline(config, load, 12), weak_pipeline(config), test_pipeline(64)):
        for number in range(8):
            image, target = pipeline(*make_sample(40, 60, [], seed=number))
            assert image_size(image) == (64, 64)
            assert target["boxes"].shape == (0, 4)
            assert target["labels"].dtype == torch.int64


def test_pipelines_never_change_the_images_they_read():
    samples = [load(number) for number in range(8)]
    before = [snapshot(sample) for sample in samples]
    for config in (SMALL, dataclasses.replace(SMALL, one_resize=False)):
        pipeline = strong_pipeline(config, lambda index: samples[index], 8)
        for number in range(24):
            torch.manual_seed(number)
            try:
                image, _ = pipeline(*samples[number % 8])
            except EmptyCrop:
                continue
            image.fill_(0)  # what happens to a finished sample must not reach the caches
    assert [snapshot(sample) for sample in samples] == before


def test_finished_samples_do_not_leak_into_later_mixes():
    # The mixup cache holds what Pad returned; overwriting a finished sample must not change a later one.
    def last(overwrite: bool):
        pipeline = strong_pipeline(dataclasses.replace(SMALL, mixup_prob=0.5), load, 12)
        for number in range(12):
            torch.manual_seed(number)
            image, target = pipeline(*load(number))
            if overwrite and number < 11:
                image.fill_(0)
        return snapshot((image, target))

    assert last(overwrite=False) == last(overwrite=True)


USERS_OWN = {
    "flip": v2.RandomHorizontalFlip(1.0),
    "vertical flip": v2.RandomVerticalFlip(1.0),
    "color jitter": v2.ColorJitter(0.3, 0.3, 0.3, 0.1),
    "grayscale": v2.RandomGrayscale(1.0),
    "sanitize": v2.SanitizeBoundingBoxes(),
    "choice": v2.RandomChoice([v2.GaussianBlur(3), v2.RandomPosterize(4, p=1.0)]),
}


@pytest.mark.parametrize("name", USERS_OWN)
def test_transform_of_torchvision_works_inside_our_pipeline(name):
    ours = strong_pipeline(SMALL, load, 12).transforms
    for place in range(len(ours) + 1):
        pipeline = v2.Compose([*ours[:place], USERS_OWN[name], *ours[place:]])
        for number in range(7):
            torch.manual_seed(number)
            try:
                image, target = pipeline(*load(number))
            except EmptyCrop:
                continue
            assert image_size(image) == (64, 64)
            assert len(target["boxes"]) == len(target["labels"])
            assert target["meta"].image_id == number


def test_flip_of_torchvision_is_our_flip():
    sample = load(3)
    theirs = v2.RandomHorizontalFlip(1.0)(*sample)
    assert snapshot(RandomFlip(1.0)(*sample)) == snapshot(theirs)


def test_our_transforms_work_inside_their_containers():
    ours = [Resize(48), RandomHSV(), RandomFlip(0.5)]
    pipeline = v2.Compose([v2.RandomApply([v2.Compose(ours)], p=1.0), v2.RandomChoice([Pad(48)]), v2.RandomOrder(ours)])
    image, target = pipeline(*load(0))
    assert image_size(image) == (48, 48)
    assert target["boxes"].canvas_size == (48, 48)
    assert len(target["labels"]) == 2
