"""Settings: what is accepted, what is refused, and with which words."""

from __future__ import annotations

import dataclasses
import json

import pytest

from rtmdet_lab.config.overrides import differences, from_dict, iter_settings, to_dict, with_overrides
from rtmdet_lab.config.settings import AssignerConfig, BackboneConfig, ExperimentConfig, ModelConfig
from rtmdet_lab.core.errors import SettingError, SettingTypeError, UnknownNameError, UserError

BASE = ExperimentConfig()


def get(config, name: str):
    for part in name.split("."):
        config = getattr(config, part)
    return config


# One valid value per setting that differs from the default. `test_table_covers_every_setting` keeps it complete.
CHANGED = {
    "task": "instance",
    "model.size": "x",
    "model.num_classes": 3,
    "model.block": "darknet",
    "model.kernel_size": 7,
    "model.depth": 0.5,
    "model.width": 0.5,
    "model.depthwise": True,
    "model.exp_on_reg": False,
    "model.pretrained_backbone": True,
    "model.backbone.stage_blocks": (3, 9, 9, 3),
    "model.backbone.channel_attention": False,
    "model.backbone.expand_ratio": 0.75,
    "model.backbone.spp": False,
    "model.neck.expand_ratio": 0.25,
    "model.neck.blocks": 2,
    "model.head.sharing": "all",
    "model.head.stacked_convs": 3,
    "model.head.shared_tower": False,
    "assigner.kind": "dynamic_soft_label",  # the others refuse the settings below: tested on their own
    "assigner.topk": 10,
    "assigner.cls_cost": "hard",
    "assigner.iou_cost": "giou",
    "assigner.center_cost": "fixed",
    "assigner.cls_weight": 2.0,
    "assigner.iou_weight": 1.0,
    "assigner.center_weight": 0.5,
    "assigner.center_radius": 2.5,
    "assigner.center_base": 2.0,
    "loss.cls": "focal",
    "loss.cls_weight": 0.5,
    "loss.cls_beta": 1.0,
    "loss.bbox": "ciou",
    "loss.bbox_weight": 5.0,
    "loss.quality_weighting": False,
    "loss.rotated": "kld",
    "loss.mask_weight": 1.0,
    "loss.mask_positives": 50,
    "augment.input_size": 320,
    "augment.mosaic": False,
    "augment.mixup": False,
    "augment.partners": "uncached",
    "augment.mosaic_cache": 10,
    "augment.mixup_cache": 5,
    "augment.cache_eviction": "oldest",
    "augment.mixup_prob": 0.25,
    "augment.resize_range": (0.8, 1.25),
    "augment.crop": False,
    "augment.empty_crops": True,
    "augment.one_resize": False,
    "augment.hsv": False,
    "augment.hue": 1,
    "augment.saturation": 2,
    "augment.value": 3,
    "augment.flip_prob": 0.25,
    "augment.rotated_recipe": "mixing",
    "augment.rotated_flip_prob": 0.5,
    "augment.rotate_prob": 0.25,
    "train.init_weights": "weights.pth",
    "train.reset_predictors": True,
    "train.epochs": 12,
    "train.weak_epochs": 2,
    "train.batch_size": 8,
    "train.gradient_accumulation_steps": 4,
    "train.optimizer": "sgd",
    "train.lr": 0.01,
    "train.momentum": 0.8,
    "train.adam_betas": (0.9, 0.99),
    "train.adam_eps": 1e-6,
    "train.weight_decay": 0.0001,
    "train.decay_norm_and_bias": True,
    "train.schedule": "cosine",
    "train.lr_floor": 0.1,
    "train.warmup_steps": 10,
    "train.warmup_factor": 0.1,
    "train.grad_clip": 35.0,
    "train.ema": False,
    "train.ema_momentum": 0.001,
    "train.ema_gamma": 100,
    "train.amp": "bf16",
    "train.channels_last": False,
    "train.compile": True,
    "train.norm_eval": True,
    "train.val_interval": 1,
    "train.score_of": "best",
    "train.keep_every": 2,
    "train.workers": 0,
    "test.input_size": 320,
    "test.score_threshold": 0.05,
    "test.nms_iou": 0.6,
    "test.max_per_level": 1000,
    "test.max_per_image": 100,
    "test.batch_size": 4,
    "test.tile": 1024,
    "test.overlap": 100,
    "test.tta": True,
    "test.tta_scales": (1.0, 2.0),
    "test.tta_flip": True,
    "test.tta_nms_iou": 0.5,
    "test.tta_max_per_image": 50,
    "data.train_images": "a",
    "data.train_annotations": "b",
    "data.val_images": "c",
    "data.val_annotations": "d",
    "data.classes": ("ship", "harbor"),
    "data.repeat": 10,
    "data.skip_empty": False,
    "data.min_image_size": 8,
    "data.on_bad": "skip",
    "data.reduced_decode": True,
    "data.cache_decoded": True,
    "seed": 7,
}


def test_table_covers_every_setting():
    assert list(CHANGED) == [name for name, _ in iter_settings(BASE)]


@pytest.mark.parametrize("name", CHANGED)
def test_override_changes_this_setting_and_no_other(name):
    changed = with_overrides(BASE, {name: CHANGED[name]})
    assert get(changed, name) == CHANGED[name]
    assert type(get(changed, name)) is type(CHANGED[name])
    expected = {} if CHANGED[name] == get(BASE, name) else {name: (get(BASE, name), CHANGED[name])}
    assert differences(BASE, changed) == expected


def test_config_with_every_setting_changed_survives_json():
    config = with_overrides(BASE, CHANGED)
    assert set(differences(BASE, config)) == set(CHANGED) - {"assigner.kind"}
    again = from_dict(json.loads(json.dumps(to_dict(config))))
    assert again == config
    assert differences(config, again) == {}
    assert isinstance(again.model.backbone.stage_blocks, tuple)
    assert isinstance(again.data.classes, tuple)


@pytest.mark.parametrize("kind", ["simota", "atss", "task_aligned"])
def test_other_assigners_survive_json(kind):
    config = with_overrides(BASE, {"assigner.kind": kind, "assigner.topk": 5})
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_settings_that_a_file_lacks_keep_their_defaults():
    assert from_dict({"model": {"size": "l"}, "seed": 3}) == with_overrides(BASE, {"model.size": "l", "seed": 3})
    assert from_dict({}) == BASE


def test_to_dict_holds_plain_values_only():
    def plain(value) -> bool:
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(inner) for key, inner in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return value is None or type(value) in (str, int, float, bool)

    assert plain(to_dict(with_overrides(BASE, CHANGED)))


# ---- ways to write an override


def test_dotted_nested_and_whole_overrides_agree():
    dotted = with_overrides(BASE, {"model.backbone.spp": False, "model.kernel_size": 7})
    nested = with_overrides(BASE, {"model": {"backbone": {"spp": False}, "kernel_size": 7}})
    mixed = with_overrides(BASE, {"model.backbone": {"spp": False}, "model": {"kernel_size": 7}})
    dotted_inside = with_overrides(BASE, {"model": {"backbone.spp": False, "kernel_size": 7}})
    whole = with_overrides(BASE, {"model": ModelConfig(kernel_size=7, backbone=BackboneConfig(spp=False))})
    assert dotted == nested == mixed == dotted_inside == whole


def test_overrides_leave_the_original_alone():
    before = to_dict(BASE)
    with_overrides(BASE, CHANGED)
    assert to_dict(BASE) == before


def test_no_overrides_give_an_equal_config():
    assert with_overrides(BASE, {}) == BASE


def test_a_later_override_wins():
    assert with_overrides(BASE, {"model": {"size": "l"}, "model.size": "m"}).model.size == "m"


def test_partial_config_takes_overrides_too():
    assert with_overrides(ModelConfig(), {"backbone.stage_blocks": [3, 9, 9, 3]}).backbone.stage_blocks == (3, 9, 9, 3)


def test_whole_number_becomes_a_float_where_the_field_is_one():
    changed = with_overrides(BASE, {"loss.bbox_weight": 3, "train.lr": 1, "augment.resize_range": [1, 2]})
    assert (changed.loss.bbox_weight, changed.train.lr, changed.augment.resize_range) == (3.0, 1.0, (1.0, 2.0))
    values = (changed.loss.bbox_weight, changed.train.lr, *changed.augment.resize_range)
    assert all(type(value) is float for value in values)


# ---- what arrives from papermill (the table of the architecture's section on configs)


def test_tuple_that_papermill_turned_into_text_is_refused():
    with pytest.raises(TypeError, match=r"'model.backbone.stage_blocks'.*expected a list.*string.*\(3, 6, 6, 3\)"):
        with_overrides(BASE, {"model.backbone.stage_blocks": "(3, 6, 6, 3)"})


def test_false_that_papermill_turned_into_text_is_refused():
    with pytest.raises(TypeError, match=r"'model.backbone.channel_attention'.*expected bool.*'false'"):
        with_overrides(BASE, {"model.backbone.channel_attention": "false"})


def test_list_that_the_shell_turned_into_text_is_refused():
    with pytest.raises(TypeError, match="expected a list"):
        with_overrides(BASE, {"model.backbone.stage_blocks": "[3,6,6,3]"})


def test_list_number_none_and_mapping_arrive_as_they_are():
    given = {
        "model.backbone.stage_blocks": [3, 9, 9, 3],
        "model.kernel_size": 7,
        "train.lr": None,
        "model.neck": {"blocks": 2},
    }
    changed = with_overrides(BASE, given)
    assert changed.model.backbone.stage_blocks == (3, 9, 9, 3)
    assert (changed.model.kernel_size, changed.train.lr, changed.model.neck.blocks) == (7, None, 2)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("kernal_size", "model.kernel_size"),
        ("model.kernal_size", "model.kernel_size"),
        ("model.backbone.stage_block", "model.backbone.stage_blocks"),
        ("model.stage_blocks", "model.backbone.stage_blocks"),  # right word, wrong part
        ("kernel_size", "model.kernel_size"),
        ("assigner.centre_radius", "assigner.center_radius"),
        ("sed", "seed"),
    ],
)
def test_misspelt_name_is_refused_with_the_nearest_one(name, suggestion):
    with pytest.raises(KeyError) as caught:
        with_overrides(BASE, {name: 1})
    assert f"no setting '{name}'" in str(caught.value)
    assert f"did you mean '{suggestion}'?" in str(caught.value)


def test_misspelt_name_inside_a_mapping_is_named_in_full():
    with pytest.raises(UnknownNameError, match=r"no setting 'model.backbone.sp': did you mean 'model.backbone.spp'\?"):
        with_overrides(BASE, {"model": {"backbone": {"sp": False}}})


def test_name_unlike_any_other_lists_what_there_is():
    with pytest.raises(UnknownNameError, match=r"settings here: expand_ratio, blocks"):
        with_overrides(BASE.model.neck, {"zzzzzz": 1})


def test_part_of_a_plain_setting_is_refused():
    with pytest.raises(UnknownNameError, match=r"'train.lr' has no parts"):
        with_overrides(BASE, {"train.lr.base": 1})


@pytest.mark.parametrize("name", ["", ".", "model.", ".size", "model..size", "__class__", "model.num_classes.real"])
def test_malformed_name_is_a_user_error(name):
    with pytest.raises(UserError):
        with_overrides(BASE, {name: 1})


# ---- types


WRONG_TYPE = [
    ("model.num_classes", "80", "whole number"),
    ("model.num_classes", 80.0, "whole number"),
    ("model.num_classes", True, "whole number"),
    ("model.num_classes", None, "whole number"),
    ("seed", False, "whole number"),
    ("train.epochs", [300], "whole number"),
    ("loss.bbox_weight", "2.0", "number"),
    ("loss.bbox_weight", True, "number"),
    ("loss.bbox_weight", None, "number"),
    ("train.lr", "4e-3", "number"),  # YAML reads 4e-3 as text
    ("train.ema", 1, "bool"),
    ("train.ema", None, "bool"),
    ("train.norm_eval", "no", "bool"),
    ("train.init_weights", 5, "text"),
    ("train.init_weights", None, "text"),
    ("data.classes", "person", "a list"),  # a string is a sequence of letters
    ("data.classes", ["person", 1], "text"),
    ("data.classes", {"person": 1}, "a list"),
    ("model.backbone.stage_blocks", [3, 6, 6], "4 values, got 3"),
    ("model.backbone.stage_blocks", [3, 6, 6, 3, 3], "4 values, got 5"),
    ("model.backbone.stage_blocks", [3, 6, 6, 3.0], "whole number"),
    ("model.backbone.stage_blocks", 3, "a list"),
    ("augment.resize_range", [0.5], "2 values, got 1"),
    ("augment.resize_range", 0.5, "a list"),
    ("test.tta_scales", 1.5, "a list"),
    ("model", "s", "mapping of settings"),
    ("model.backbone", None, "mapping of settings"),
    ("model", BackboneConfig(), "mapping of settings"),
]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG_TYPE)
def test_value_of_the_wrong_type_is_refused_by_name(name, value, expected):
    with pytest.raises(TypeError) as caught:
        with_overrides(BASE, {name: value})
    assert isinstance(caught.value, SettingTypeError)
    assert f"setting '{name}'" in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["loss.bbox_weight", "train.lr", "augment.resize_range", "assigner.center_radius"])
def test_nan_and_infinity_are_refused(name, value):
    with pytest.raises(SettingError, match=f"'{name}'.*finite"):
        with_overrides(BASE, {name: [0.5, value] if name.endswith("range") else value})


FREE_TEXT = {
    "train.init_weights",
    *(f"data.{part}_{kind}" for part in ("train", "val") for kind in ("images", "annotations")),
}
CHOICES = [name for name, value in CHANGED.items() if isinstance(value, str) and name not in FREE_TEXT]


@pytest.mark.parametrize("name", CHOICES)
def test_unknown_choice_lists_the_allowed_ones(name):
    with pytest.raises(SettingError) as caught:
        with_overrides(BASE, {name: "nonsense"})
    assert f"setting '{name}' is 'nonsense', but must be one of [" in str(caught.value)
    assert repr(CHANGED[name]) in str(caught.value)
    with pytest.raises(SettingError):
        with_overrides(BASE, {name: 3})


def test_near_choice_is_suggested():
    with pytest.raises(SettingError, match=r"did you mean 'dynamic_soft_label'\?"):
        with_overrides(BASE, {"assigner.kind": "dynamic_soft"})


def test_off_read_as_false_by_yaml_is_refused_not_taken_for_a_choice():
    # YAML 1.1 reads an unquoted `off` as False.
    with pytest.raises(SettingError, match=r"'train.amp' is False"):
        with_overrides(BASE, {"train.amp": False})


# ---- limits: values on the limit pass, values past it are refused by name

LIMITS = {
    "model.num_classes": ([1], [0, -1]),
    "model.kernel_size": ([1, 3, 21], [0, -1, 4, -3]),
    "model.depth": ([0.001, None], [0.0, -1.0]),
    "model.width": ([0.25, None], [0.0, -0.5]),
    "model.backbone.stage_blocks": ([(1, 1, 1, 1)], [(0, 6, 6, 3), (3, 6, 6, -1)]),
    "model.backbone.expand_ratio": ([0.01, 2.0], [0.0, -0.5, 2.01]),
    "model.neck.expand_ratio": ([0.01, 2.0], [0.0, -0.5, 2.01]),
    "model.neck.blocks": ([1], [0]),
    "model.head.stacked_convs": ([1], [0]),
    "loss.mask_weight": ([0.0], [-1.0]),
    "loss.mask_positives": ([1, None], [0, -5]),
    "assigner.topk": ([1, None], [0, -1]),
    "assigner.center_base": ([0.1], [0.0, -10.0]),
    "augment.input_size": ([32, 64], [0, 16, 31, 33, 650]),
    "augment.mosaic_cache": ([1, None], [0]),
    "augment.mixup_cache": ([1, None], [0]),
    "augment.mixup_prob": ([0.0, 1.0, None], [-0.1, 1.1]),
    "augment.flip_prob": ([0.0, 1.0], [-0.1, 1.1]),
    "augment.rotated_flip_prob": ([0.0, 1.0], [-0.1, 1.1]),
    "augment.rotate_prob": ([0.0, 1.0], [-0.1, 1.1]),
    "augment.resize_range": ([(1.0, 1.0), (0.1, 2.0), None], [(2.0, 0.1), (0.0, 1.0), (-1.0, 1.0)]),
    "train.epochs": ([1], [0]),
    "train.weak_epochs": ([0], [-1]),
    "train.batch_size": ([1], [0]),
    "train.gradient_accumulation_steps": ([1], [0]),
    "train.val_interval": ([1], [0]),
    "train.keep_every": ([0, 1], [-1]),
    "train.ema_gamma": ([1], [0]),
    "train.warmup_steps": ([0], [-1]),
    "train.workers": ([0], [-1]),
    "train.weight_decay": ([0.0], [-0.01]),
    "train.lr": ([0.0, None], [-0.001]),
    "train.lr_floor": ([0.0, 1.0], [-0.1, 1.1]),
    "train.ema_momentum": ([1e-6, 1.0], [0.0, 1.1]),
    "train.adam_betas": ([(0.0, 0.0)], [(1.0, 0.999), (0.9, -0.1)]),
    "train.adam_eps": ([1e-12], [0.0]),
    "train.grad_clip": ([0.1, None], [0.0, -1.0]),
    "test.input_size": ([32, 640, None], [0, 16, 33]),
    "test.score_threshold": ([0.0, 0.99], [-0.1, 1.0]),
    "test.nms_iou": ([0.01, 1.0], [0.0, 1.1]),
    "test.max_per_level": ([1], [0]),
    "test.max_per_image": ([1], [0]),
    "test.batch_size": ([1], [0]),
    "test.tile": ([32, 1024, None], [0, 16, 1000, -32]),
    "test.overlap": ([0, 500], [-1]),
    "test.tta_scales": ([(0.1,), (1.0, 10.0), None], [(), (0.0,), (1.0, 10.1), (-1.0,)]),
    "test.tta_nms_iou": ([0.01, 1.0, None], [0.0, 1.1]),
    "test.tta_max_per_image": ([1, None], [0]),
    "data.repeat": ([1], [0]),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (good, _) in LIMITS.items() for value in good])
def test_value_on_the_limit_is_taken(name, value):
    assert get(with_overrides(BASE, {name: value}), name) == value


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (_, bad) in LIMITS.items() for value in bad])
def test_value_past_the_limit_is_refused_by_name(name, value):
    with pytest.raises(ValueError) as caught:
        with_overrides(BASE, {name: value})
    assert isinstance(caught.value, SettingError)
    message = str(caught.value)
    assert name.split(".")[-1] in message
    assert repr(value) in message
    assert "must be" in message


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (_, bad) in LIMITS.items() for value in bad])
def test_limits_hold_for_the_constructor_too(name, value):
    part, _, leaf = name.rpartition(".")
    with pytest.raises(SettingError):
        type(get(BASE, part))(**{leaf: value})


NEVER_BELOW_ZERO = [
    "loss.cls_beta",  # a negative exponent of |y - p| makes perfect predictions cost infinity
    "loss.cls_weight",
    "loss.bbox_weight",
    "train.momentum",
    "augment.hue",
    "augment.saturation",
    "augment.value",
    "train.warmup_factor",
]


@pytest.mark.parametrize("name", NEVER_BELOW_ZERO)
def test_value_without_a_meaning_below_zero_is_refused_there(name):
    with pytest.raises(SettingError, match=name.split(".")[-1]):
        with_overrides(BASE, {name: -1})


COST_SETTINGS = [item.name for item in dataclasses.fields(AssignerConfig) if item.name not in ("kind", "topk")]


@pytest.mark.parametrize("kind", ["simota", "atss", "task_aligned"])
@pytest.mark.parametrize("name", COST_SETTINGS)
def test_baselines_refuse_settings_that_would_have_no_effect(kind, name):
    value = CHANGED[f"assigner.{name}"]
    with pytest.raises(SettingError, match=f"assigner.{name} has no effect with assigner.kind '{kind}'"):
        AssignerConfig(kind=kind, **{name: value})
    with pytest.raises(SettingError, match=f"assigner.{name} has no effect"):
        with_overrides(BASE, {"assigner.kind": kind, f"assigner.{name}": value})


def test_configs_are_frozen_and_hashable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        BASE.seed = 1
    assert hash(with_overrides(BASE, CHANGED)) == hash(with_overrides(BASE, CHANGED))


def test_settings_are_listed_in_the_order_they_are_declared():
    names = [name for name, _ in iter_settings(ModelConfig())]
    assert names[:3] == ["size", "num_classes", "block"]
    assert names[-4:] == ["neck.blocks", "head.sharing", "head.stacked_convs", "head.shared_tower"]


def test_differences_name_both_values():
    other = with_overrides(BASE, {"seed": 3, "model.neck.blocks": 2})
    assert differences(BASE, other) == {"seed": (0, 3), "model.neck.blocks": (3, 2)}
    assert differences(other, BASE) == {"seed": (3, 0), "model.neck.blocks": (2, 3)}
