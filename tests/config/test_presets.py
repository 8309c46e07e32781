"""The size table against the paper's numbers, and what a resolved config holds (paper.md 3.1)."""

from __future__ import annotations

import dataclasses

import pytest
from torch.testing import assert_close

from rtmdet_lab.config.overrides import iter_settings, with_overrides
from rtmdet_lab.config.presets import (
    SIZES,
    STRIDES,
    model_names,
    parse_model_name,
    resolve,
    resolve_augment,
    resolve_model,
    resolve_test,
    scaled_blocks,
    stage_channels,
)
from rtmdet_lab.config.settings import ExperimentConfig, TestConfig
from rtmdet_lab.core.errors import SettingError, UnknownNameError

# Columns of the published size table, read off paper.md 3.1.
DEPTH_WIDTH = {"tiny": (0.167, 0.375), "s": (0.33, 0.5), "m": (0.67, 0.75), "l": (1.0, 1.0), "x": (1.33, 1.25)}
STAGE_BLOCKS = {"tiny": (1, 1, 1, 1), "s": (1, 2, 2, 1), "m": (2, 4, 4, 2), "l": (3, 6, 6, 3), "x": (4, 8, 8, 4)}
NECK_BLOCKS = {"tiny": 1, "s": 1, "m": 2, "l": 3, "x": 4}
CHANNELS = {
    "tiny": [24, 48, 96, 192, 384],
    "s": [32, 64, 128, 256, 512],
    "m": [48, 96, 192, 384, 768],
    "l": [64, 128, 256, 512, 1024],
    "x": [80, 160, 320, 640, 1280],
}
PAPER_SIZES = list(DEPTH_WIDTH)


def test_strides_are_8_16_32():
    assert STRIDES == (8, 16, 32)


@pytest.mark.parametrize("size", PAPER_SIZES)
def test_depth_and_width_are_the_published_ones(size):
    assert (SIZES[size].depth, SIZES[size].width) == DEPTH_WIDTH[size]


@pytest.mark.parametrize("size", PAPER_SIZES)
def test_block_counts_are_the_published_ones(size):
    depth = SIZES[size].depth
    assert tuple(scaled_blocks(count, depth) for count in (3, 6, 6, 3)) == STAGE_BLOCKS[size]
    assert scaled_blocks(3, depth) == NECK_BLOCKS[size]


@pytest.mark.parametrize("size", PAPER_SIZES)
def test_channels_are_the_published_ones(size):
    assert stage_channels(SIZES[size].width) == CHANNELS[size]


def test_nano_is_a_quarter_wide():
    assert stage_channels(SIZES["nano"].width) == [16, 32, 64, 128, 256]
    assert (SIZES["nano"].depthwise, SIZES["nano"].sharing) == (True, "none")


def test_no_published_size_but_nano_is_separable_or_unshared():
    for size in PAPER_SIZES:
        assert (SIZES[size].depthwise, SIZES[size].sharing) == (False, "convs")


def test_only_the_larger_sizes_exponentiate_distances():
    assert {size for size in SIZES if SIZES[size].exp_on_reg} == {"m", "l", "x"}


def test_augmentation_columns_are_the_published_ones():
    for size in PAPER_SIZES:
        row = SIZES[size]
        assert row.resize_range == ((0.5, 2.0) if size in ("tiny", "s") else (0.1, 2.0))
        small = size == "tiny"
        assert (row.mosaic_cache, row.mixup_cache, row.cache_eviction, row.mixup_prob) == (
            (20, 10, "oldest", 0.5) if small else (40, 20, "random", 1.0)
        )


def test_half_a_block_rounds_to_the_even_count_and_never_to_none():
    assert scaled_blocks(5, 0.5) == 2  # 2.5
    assert scaled_blocks(7, 0.5) == 4  # 3.5
    assert scaled_blocks(1, 0.167) == 1  # 0.167 would be 0


# ---- names


def test_names_go_through_parsing_and_back():
    detection = [("detection", size) for size in ("nano", "tiny", "s", "m", "l", "x")]
    instance = [("instance", size) for size in ("tiny", "s", "m", "l", "x")]
    rotated = [("rotated", size) for size in ("tiny", "s", "m", "l")]
    classification = [("classification", size) for size in ("tiny", "s", "m", "l", "x")]
    assert [parse_model_name(name) for name in model_names()] == detection + instance + rotated + classification


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("rtmdet_tiny", "rtmdet-tiny"),
        ("rtmdet-xl", "rtmdet-x"),
        ("rtmdet-small", "rtmdet-s"),
        ("RTMDet-tiny", "rtmdet-tiny"),
    ],
)
def test_unknown_model_suggests_the_nearest(name, near):
    with pytest.raises(KeyError) as caught:
        parse_model_name(name)
    assert isinstance(caught.value, UnknownNameError)
    assert f"no model '{name}': did you mean '{near}'?" in str(caught.value)


def test_model_unlike_any_lists_all_names():
    with pytest.raises(UnknownNameError, match=r"no model 'yolo': known are rtmdet-nano, .*rtmdet-x"):
        parse_model_name("yolo")


@pytest.mark.parametrize("name", ["", "rtmdet-", "rtmdet", "rtmdet-s ", "s"])
def test_part_of_a_name_is_not_a_name(name):
    with pytest.raises(UnknownNameError):
        parse_model_name(name)


# ---- resolving


@pytest.mark.parametrize("size", SIZES)
def test_resolving_leaves_nothing_to_presets(size):
    config = resolve(with_overrides(ExperimentConfig(), {"model.size": size}))
    open_settings = {name for name, value in iter_settings(config) if value is None}
    # These mean what they say: no clipping; only where needed; all categories. The assigner's is its kind's own default.
    # A shared tower is the instance task's; no cap on masks is what was published; images whole and looked at once.
    own = {"model.head.shared_tower", "loss.mask_positives", "test.tile"}
    own |= {f"test.tta_{name}" for name in ("scales", "flip", "nms_iou", "max_per_image")}
    assert open_settings == {"train.grad_clip", "train.norm_eval", "data.classes", "assigner.topk"} | own


@pytest.mark.parametrize("size", ["tiny", "m"])
def test_instance_heads_share_a_tower_and_never_use_exp_unless_told(size):
    config = resolve(with_overrides(ExperimentConfig(), {"task": "instance", "model.size": size}))
    assert config.model.head.shared_tower is True
    assert config.model.exp_on_reg is False
    told = {"task": "instance", "model.size": size, "model.exp_on_reg": True, "model.head.shared_tower": False}
    config = resolve(with_overrides(ExperimentConfig(), told))
    assert (config.model.head.shared_tower, config.model.exp_on_reg) == (False, True)


@pytest.mark.parametrize(
    ("task", "name", "value"),
    [
        ("detection", "loss.mask_weight", 1.0),
        ("rotated", "loss.mask_positives", 10),
        ("detection", "loss.rotated", "kld"),
        ("rotated", "loss.bbox", "iou"),
    ],
)
def test_losses_of_another_task_are_refused(task, name, value):
    with pytest.raises(SettingError, match=f"{name} belongs to the task "):
        resolve(with_overrides(ExperimentConfig(), {"task": task, name: value}))


def test_cost_without_a_rotated_form_is_refused_before_any_work():
    changes = {"assigner.iou_cost": "giou"}
    with pytest.raises(SettingError, match=r"assigner\.iou_cost 'giou'"):
        resolve(with_overrides(ExperimentConfig(), {"task": "rotated", **changes}))
    assert resolve(with_overrides(ExperimentConfig(), changes)).assigner.iou_cost == "giou"


@pytest.mark.parametrize("size", SIZES)
def test_resolved_settings_are_those_of_the_size(size):
    config = resolve(with_overrides(ExperimentConfig(), {"model.size": size}))
    preset = SIZES[size]
    model, augment = config.model, config.augment
    assert (model.depth, model.width, model.exp_on_reg, model.depthwise, model.head.sharing) == (
        preset.depth,
        preset.width,
        preset.exp_on_reg,
        preset.depthwise,
        preset.sharing,
    )
    for name in ("mosaic_cache", "mixup_cache", "cache_eviction", "mixup_prob", "resize_range"):
        assert getattr(augment, name) == getattr(preset, name)


def test_own_values_win_over_the_preset_even_when_they_are_zero_or_false():
    own = {
        "model.size": "l",
        "model.exp_on_reg": False,
        "model.depthwise": False,
        "model.head.sharing": "none",
        "model.depth": 0.5,
        "augment.mixup_prob": 0.0,
        "augment.cache_eviction": "oldest",
        "train.lr": 0.0,
        "test.input_size": 320,
    }
    config = resolve(with_overrides(ExperimentConfig(), own))
    values = dict(iter_settings(config))
    assert {name: values[name] for name in own} == own


def test_resolving_twice_changes_nothing_more():
    once = resolve(ExperimentConfig())
    assert resolve(once) == once
    assert resolve_model(once.model) == once.model
    assert resolve_augment(once.augment, once.model.size) == once.augment


@pytest.mark.parametrize(
    ("task", "batch_size", "accumulate", "lr"),
    [
        ("detection", None, 1, 0.004),
        ("detection", None, 2, 0.008),
        ("rotated", None, 1, 0.00025),
        ("detection", 256, 1, 0.004),
        ("detection", 128, 1, 0.002),
        ("detection", 32, 1, 0.0005),
        ("detection", 32, 8, 0.004),
        ("instance", 8, 1, 0.000125),
        ("rotated", 8, 1, 0.00025),
        ("rotated", 2, 8, 0.0005),
    ],
)
def test_learning_rate_scales_with_the_images_per_step(task, batch_size, accumulate, lr):
    own = {"task": task, "train.batch_size": batch_size, "train.gradient_accumulation_steps": accumulate}
    assert_close(resolve(with_overrides(ExperimentConfig(), own)).train.lr, lr, rtol=1e-12, atol=0.0)


def test_test_size_follows_the_training_canvas():
    assert resolve(with_overrides(ExperimentConfig(), {"augment.input_size": 320})).test.input_size == 320


def test_test_size_is_the_tile_before_the_training_canvas():
    own = {"augment.input_size": 320, "test.tile": 1024}
    assert resolve(with_overrides(ExperimentConfig(), own)).test.input_size == 1024
    assert resolve(with_overrides(ExperimentConfig(), own | {"test.input_size": 512})).test.input_size == 512


@pytest.mark.parametrize(
    ("task", "own", "expected"),
    [
        ("detection", {"tta": True}, ((1.0, 0.5, 1.5), True, 0.6, 100)),
        ("rotated", {"tta": True}, ((0.5, 1.0, 1.5), False, 0.1, 2000)),
        ("rotated", {"tta": True, "tta_flip": True, "tta_scales": (1.0,)}, ((1.0,), True, 0.1, 2000)),
        ("detection", {"tta_scales": (1.0, 2.0)}, ((1.0, 2.0), False, 0.6, 100)),
        ("detection", {"tta_flip": True, "tta_nms_iou": 0.4}, ((1.0,), True, 0.4, 100)),
        ("detection", {"tta": True, "tile": 320}, ((1.0, 0.5, 1.5), True, 0.6, None)),
        ("detection", {}, (None, None, None, None)),
        ("instance", {"tta_flip": False}, (None, False, None, None)),
    ],
)
def test_views_left_open_are_the_published_ones_where_they_are_used(task, own, expected):
    test = resolve_test(TestConfig(**own), task)
    assert (test.tta_scales, test.tta_flip, test.tta_nms_iou, test.tta_max_per_image) == expected
    assert resolve_test(test, task) == test


@pytest.mark.parametrize(
    ("task", "own", "words"),
    [
        ("instance", {"tile": 320}, ("test.tile", "masks")),
        ("instance", {"tta": True}, ("test.tta", "masks")),
        ("instance", {"tta_flip": True}, ("test.tta", "masks")),
        ("rotated", {"tile": 128}, ("test.overlap is 200", "test.tile, which is 128")),
        ("rotated", {"tile": 128, "overlap": 128}, ("test.overlap is 128", "less than")),
        ("rotated", {"overlap": 100}, ("test.overlap", "no effect without test.tile")),
        ("rotated", {"tile": 32, "overlap": 31, "tta_scales": (1.0, 10.0)}, ("test.tta_scales has 10.0", "3 pixels")),
        ("detection", {"tta_nms_iou": 0.5}, ("test.tta_nms_iou", "no effect")),
        ("detection", {"tta_max_per_image": 5}, ("test.tta_max_per_image", "no effect")),
        ("detection", {"tta": True, "tile": 320, "tta_max_per_image": 5}, ("tta_max_per_image", "each window")),
    ],
)
def test_views_that_cannot_be_are_refused_in_one_sentence(task, own, words):
    with pytest.raises(SettingError) as caught:
        resolve_test(TestConfig(**own), task)
    assert all(word in str(caught.value) for word in words), caught.value


def test_more_weak_epochs_than_epochs_are_refused_with_both_numbers():
    with pytest.raises(SettingError, match=r"train.weak_epochs is 20, but must be at most train.epochs, which is 12"):
        resolve(with_overrides(ExperimentConfig(), {"train.epochs": 12, "train.weak_epochs": 20}))


def test_weak_epochs_alone_are_allowed():
    both = {"train.epochs": 12, "train.weak_epochs": 12}
    assert resolve(with_overrides(ExperimentConfig(), both)).train.weak_epochs == 12


def test_presets_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SIZES["s"].depth = 1.0


@pytest.mark.parametrize("task", ["detection", "instance", "rotated"])
def test_test_settings_left_open_are_the_published_ones_of_the_task(task):
    published = {"detection": (0.001, 0.65, 30000, 300), "instance": (0.05, 0.6, 1000, 100)} | {
        "rotated": (0.05, 0.1, 2000, 2000)
    }
    published = published[task]
    test = resolve(with_overrides(ExperimentConfig(), {"task": task})).test
    assert (test.score_threshold, test.nms_iou, test.max_per_level, test.max_per_image) == published
    test = resolve(with_overrides(ExperimentConfig(), {"task": task, "test.nms_iou": 0.5})).test
    assert test.nms_iou == 0.5
