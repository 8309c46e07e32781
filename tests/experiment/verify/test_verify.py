"""A setting that changes nothing is found before a run trains, and every setting is seen where it acts."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from sources import Squares

from rtmdet_lab.assigners import factory as assigners
from rtmdet_lab.config.overrides import iter_settings, with_overrides
from rtmdet_lab.config.presets import resolve
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.engine import schedule, step
from rtmdet_lab.experiment.verify import EXEMPT, check_effective, detections, has_effect, outcomes
from rtmdet_lab.experiment.verify.stimuli import DrawnSource
from rtmdet_lab.tasks import detection, phases
from rtmdet_lab.transforms import geometric

SMALL = {
    "model.size": "tiny",
    "model.width": 0.125,
    "model.num_classes": 3,
    "augment.input_size": 64,
    "augment.mosaic_cache": 8,
    "augment.mixup_cache": 6,
    "train.epochs": 6,
    "train.weak_epochs": 2,
    "train.batch_size": 4,
    "train.workers": 0,
    "test.input_size": 64,
}
INSTANCE = {"task": "instance"}
ROTATED = {"task": "rotated", "augment.mosaic_cache": None, "augment.mixup_cache": None, "train.weak_epochs": None}
MIXING = {"task": "rotated", "augment.rotated_recipe": "mixing"}
TTA = {"test.tta": True}
SGD = {"train.optimizer": "sgd"}
OPENED = {
    "data.train_images": "elsewhere",
    "data.train_annotations": "elsewhere.json",
    "data.classes": ("wide",),
    "data.skip_empty": False,
    "data.min_image_size": 64,
    "data.reduced_decode": True,
}
EXEMPT_VALUES = {
    "train.compile": True,
    "train.channels_last": False,
    "train.keep_every": 1,
    "data.cache_decoded": True,
    "data.on_bad": "skip",
    "data.val_images": "elsewhere",
    "data.val_annotations": "elsewhere.json",
    "test.batch_size": 3,
}
LONG = {"train.epochs": 60, "train.weak_epochs": 2}  # 1500 steps

# Another valid value of every setting, and what must be set besides for it to act.
ACTS: dict[str, tuple[object, dict[str, object]]] = {
    "task": ("instance", {}),
    "model.size": ("s", {"model.width": None}),
    "model.num_classes": (4, {}),
    "model.block": ("darknet", {}),
    "model.kernel_size": (7, {}),
    "model.depth": (0.5, {}),
    "model.width": (0.25, {}),
    "model.depthwise": (True, {}),
    "model.exp_on_reg": (True, {}),
    "model.pretrained_backbone": (True, {}),
    "model.backbone.stage_blocks": ([3, 9, 6, 3], {}),
    "model.backbone.channel_attention": (False, {}),
    "model.backbone.expand_ratio": (0.25, {}),
    "model.backbone.spp": (False, {}),
    "model.neck.expand_ratio": (0.25, {}),
    "model.neck.blocks": (9, {}),
    "model.head.sharing": ("none", {}),
    "model.head.stacked_convs": (1, {}),
    "model.head.shared_tower": (False, INSTANCE),
    "assigner.kind": ("simota", {}),
    "assigner.topk": (12, {}),
    "assigner.cls_cost": ("hard", {}),
    "assigner.iou_cost": ("giou", {}),
    "assigner.center_cost": ("none", {}),
    "assigner.cls_weight": (1.1, {}),
    "assigner.iou_weight": (2.9, {}),
    "assigner.center_weight": (0.9, {}),
    "assigner.center_radius": (2.5, {"assigner.center_cost": "fixed"}),
    "assigner.center_base": (9.0, {}),
    "loss.cls": ("focal", {}),
    "loss.cls_weight": (1.1, {}),
    "loss.cls_beta": (1.9, {}),
    "loss.bbox": ("ciou", {}),
    "loss.bbox_weight": (1.9, {}),
    "loss.quality_weighting": (False, {}),
    "loss.rotated": ("kld", ROTATED),
    "loss.mask_weight": (1.9, INSTANCE),
    "loss.mask_positives": (40, INSTANCE),
    "augment.input_size": (96, {}),
    "augment.mosaic": (False, {}),
    "augment.mixup": (False, {}),
    "augment.partners": ("uncached", {}),
    "augment.mosaic_cache": (12, {}),
    "augment.mixup_cache": (12, {"augment.mosaic": False}),
    "augment.cache_eviction": ("random", {}),
    "augment.mixup_prob": (0.6, {}),
    "augment.resize_range": ([0.5, 1.5], {}),
    "augment.crop": (False, {}),
    "augment.empty_crops": (True, {}),
    "augment.one_resize": (False, {}),
    "augment.hsv": (False, {}),
    "augment.hue": (9, {}),
    "augment.saturation": (33, {}),
    "augment.value": (33, {}),
    "augment.flip_prob": (0.45, {}),
    "augment.rotated_recipe": ("mixing", ROTATED),
    "augment.rotated_flip_prob": (0.7, ROTATED),
    "augment.rotate_prob": (0.45, ROTATED),
    "train.init_weights": ("some.safetensors", {}),
    "train.reset_predictors": (True, {"train.init_weights": "some.safetensors"}),
    "train.epochs": (7, {}),
    "train.weak_epochs": (3, {}),
    "train.batch_size": (8, {}),
    "train.gradient_accumulation_steps": (2, {}),
    "train.optimizer": ("sgd", {}),
    "train.lr": (0.002, {}),
    "train.momentum": (0.8, SGD),
    "train.adam_betas": ([0.9, 0.99], {}),
    "train.adam_eps": (1e-6, {}),
    "train.weight_decay": (0.04, {}),
    "train.decay_norm_and_bias": (True, {}),
    "train.schedule": ("cosine", {}),
    "train.lr_floor": (0.04, {}),
    "train.warmup_steps": (10, {}),
    "train.warmup_factor": (1e-4, {}),
    "train.grad_clip": (35.0, {}),
    "train.ema": (False, {}),
    "train.ema_momentum": (0.0003, {}),
    "train.ema_gamma": (1900, LONG),
    "train.amp": ("bf16", {}),
    "train.norm_eval": (True, {}),
    "train.val_interval": (3, {}),
    "train.score_of": ("best", {}),
    "test.input_size": (96, {}),
    "test.score_threshold": (0.002, {}),
    "test.nms_iou": (0.6, {}),
    "test.max_per_level": (100, {}),
    "test.max_per_image": (80, {}),
    "test.tile": (96, {"test.overlap": 32, "test.tile": 64}),
    "test.overlap": (16, {"test.tile": 64, "test.overlap": 32}),
    "test.tta": (True, {}),
    "test.tta_scales": ([1.0, 2.0], TTA),
    "test.tta_flip": (False, TTA),
    "test.tta_nms_iou": (0.5, TTA),
    "test.tta_max_per_image": (90, TTA),
    "data.repeat": (2, {}),
    "seed": (1, {}),
}


def config(**changes) -> ExperimentConfig:
    return resolve(with_overrides(ExperimentConfig(), SMALL | changes))


def source(asked: ExperimentConfig) -> DrawnSource:
    return DrawnSource(asked.task, 100, asked.data.classes or ["a", "b", "c"])


def check(varied: dict, **base) -> dict:
    return check_effective(varied, lambda settings: config(**{**base, **settings}), source)


WORKED_OUT: dict[tuple[str, str], object] = {}


def remember(monkeypatch) -> None:
    """Has the outcomes of a config worked out once for all tests, for where no part is at fault."""

    def remembering(function):
        def remembered(*arguments):
            key = function.__name__, repr(arguments)
            if key not in WORKED_OUT:
                WORKED_OUT[key] = function(*arguments)
            return WORKED_OUT[key]

        return remembered

    for function in (outcomes._teaching, outcomes._updates):
        monkeypatch.setattr(outcomes, function.__name__, remembering(function))


@pytest.fixture
def remembered(monkeypatch):
    remember(monkeypatch)


def test_every_setting_is_seen_or_named():
    opened = {name for name, _ in iter_settings(ExperimentConfig()) if name.startswith("data.")} - set(EXEMPT) - set(ACTS)
    assert opened == set(OPENED)
    assert {name for name, _ in iter_settings(ExperimentConfig())} == set(ACTS) | set(EXEMPT) | opened


@pytest.mark.usefixtures("remembered")
@pytest.mark.parametrize("name", list(ACTS))
def test_every_setting_is_seen_where_it_acts(name):
    value, besides = ACTS[name]
    assert has_effect(config(**{**besides, name: value}), config(**besides), source)


@pytest.mark.usefixtures("remembered")
@pytest.mark.parametrize(("name", "value"), EXEMPT_VALUES.items())
def test_settings_of_speed_change_no_outcome_and_may_be_varied(name, value):
    assert check({name: value}) == {name: value}
    if name != "train.channels_last":  # another order of additions: the last bits differ
        assert not has_effect(config(**{name: value}), config(), source)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        INSTANCE,
        ROTATED,
        *(
            pytest.param(settings, marks=pytest.mark.slow)
            for settings in (MIXING, TTA, {"test.tile": 64, "test.overlap": 32}, {"train.amp": "bf16"})
        ),
    ],
)
def test_outcomes_of_one_config_are_equal_to_the_last_bit(settings):
    one = config(**settings)

    def tried():
        parts = [outcomes._structure(one), outcomes._plan(one, 100), outcomes._teaching(one, 2), outcomes._updates(one, 100)]
        return [*parts, list(outcomes._samples(one, 100, 40)), detections._canvas(one), detections._looks(one, one)]

    assert tried() == tried()


@pytest.mark.parametrize("name", list(OPENED))
def test_settings_of_the_data_are_seen_by_opening_them(name):
    asked, usual = config(**{name: OPENED[name]}), config()
    if name != "data.reduced_decode":  # tests/data/test_reading.py has photographs
        assert has_effect(asked, usual, lambda config: Squares(8, seed=int(config.data == asked.data)))
        # Names of classes alone change the labels of what is drawn, too.
        assert has_effect(asked, usual, lambda config: Squares(8)) is (name == "data.classes")


# Where a setting has no part in the run, it is refused by its name -------------------------------------------------------

WITHOUT_PART = [
    ("train.momentum", 0.8, {}),  # AdamW
    ("train.adam_betas", [0.8, 0.9], SGD),
    ("train.adam_eps", 1e-6, SGD),
    ("train.ema_momentum", 0.001, {"train.ema": False}),
    ("train.ema_gamma", 100, {"train.ema": False}),
    ("loss.cls_beta", 1.0, {"loss.cls": "focal"}),
    ("assigner.center_base", 5.0, {"assigner.center_cost": "fixed"}),
    ("assigner.center_radius", 5.0, {"assigner.center_cost": "none"}),
    ("assigner.iou_weight", 1.0, {"assigner.iou_cost": "none"}),
    ("assigner.cls_weight", 2.0, {"assigner.cls_cost": "none"}),
    ("augment.hue", 20, {"augment.hsv": False}),
    ("augment.mixup_prob", 0.25, {"augment.mixup": False}),
    ("augment.mixup_prob", 0.25, {"train.weak_epochs": 6}),
    ("augment.mosaic", False, {"train.weak_epochs": 6}),
    ("augment.mosaic_cache", 30, {"augment.partners": "uncached"}),
    ("augment.mosaic_cache", 150, {"augment.mosaic_cache": 120}),  # of 100 images
    ("augment.cache_eviction", "random", {"augment.mosaic_cache": 200, "augment.mixup_cache": 200}),
    ("augment.rotate_prob", 0.0, MIXING | {"augment.rotate_prob": 0.0}),
    ("augment.one_resize", False, {"augment.crop": False, "augment.mosaic": False}),
    ("model.neck.blocks", 2, {}),  # 2 and 3 times 0.167 are 1
    ("model.backbone.stage_blocks", [3, 6, 6, 4], {}),
    ("model.kernel_size", 7, {"model.block": "darknet"}),
    ("model.size", "s", {"model.depth": 0.33, "augment.mixup_prob": 1.0, "augment.cache_eviction": "oldest"}),
    ("model.pretrained_backbone", True, {"train.init_weights": "some.safetensors"}),
    ("model.head.shared_tower", True, INSTANCE),
    ("train.reset_predictors", True, {}),
    ("train.lr_floor", 0.5, {"train.schedule": "constant"}),
    ("train.warmup_factor", 0.5, {"train.warmup_steps": 0}),
    ("train.warmup_steps", 500, {}),  # at most a tenth of the 150 steps
    ("train.score_of", "best", {"train.val_interval": 6}),  # the only one looked at is the last
    ("train.val_interval", 8, {"train.val_interval": 7}),  # after the last epoch alone
    ("train.norm_eval", False, {}),
    ("test.max_per_level", 100_000, {}),  # of 192 scores
]


@pytest.mark.usefixtures("remembered")
@pytest.mark.parametrize(("name", "value", "base"), WITHOUT_PART, ids=[f"{name}={value}" for name, value, _ in WITHOUT_PART])
def test_setting_without_a_part_in_the_run_is_named(name, value, base):
    if dict(iter_settings(config(**base)))[name] == value:
        assert check({name: value}, **base) == {name: value}  # nothing is varied
        return
    with pytest.raises(SettingError, match=rf"^setting '{name}' changes nothing: with .* and with .* are the same$"):
        check({name: value}, **base)


def test_validation_interval_acts_in_a_run_without_strong_stage():
    assert check({"train.val_interval": 3}, **{"train.weak_epochs": 6}) == {"train.val_interval": 3}


def test_setting_is_compared_with_the_rest_of_its_row():
    varied = {"augment.hsv": False, "augment.hue": 20}
    with pytest.raises(SettingError, match=r"'augment.hue' changes nothing"):
        check(varied)
    assert check({"assigner.kind": "dynamic_soft_label", "assigner.topk": 11}, **{"assigner.kind": "simota"})
    # Without its kind the row's cost would be refused.
    row = {"assigner.kind": "dynamic_soft_label", "assigner.iou_weight": 2.0}
    assert check(row, **{"assigner.kind": "simota"}) == row


def test_a_group_of_settings_is_checked_one_by_one():
    found = check({"model.backbone": {"channel_attention": False, "expand_ratio": 0.25}})
    assert found == {"model.backbone.channel_attention": False, "model.backbone.expand_ratio": 0.25}
    with pytest.raises(SettingError, match=r"'model.backbone.stage_blocks' changes nothing"):
        check({"model.backbone": {"stage_blocks": [3, 6, 6, 4], "spp": False}})


def test_setting_that_is_overwritten_on_its_way_is_named():
    with pytest.raises(SettingError, match=r"'train.lr' was not taken: 0.5 was asked for, but the run has 0.001"):
        check_effective({"train.lr": 0.5}, lambda settings: config(**{**settings, "train.lr": 0.001}), source)


# Planted faults: a builder that forgets a setting is caught, whatever the config says ------------------------------------


def forgetting(function, *names):
    """Returns ``function`` with the given settings of its first config argument at their defaults."""

    def forgetful(*arguments, **more):
        arguments = list(arguments)
        for number, part in enumerate(arguments):
            if dataclasses.is_dataclass(part) and all(hasattr(part, name) for name in names):
                usual = config()
                section = next((s for s in vars(usual).values() if type(s) is type(part)), usual)
                arguments[number] = dataclasses.replace(part, **{name: getattr(section, name) for name in names})
        return function(*arguments, **more)

    return forgetful


FORGOTTEN = [
    ("assigner.topk", 9, assigners.ASSIGNERS, "dynamic_soft_label"),
    ("assigner.iou_weight", 1.0, assigners.ASSIGNERS, "dynamic_soft_label"),
    ("assigner.center_base", 5.0, assigners.ASSIGNERS, "dynamic_soft_label"),
    ("assigner.cls_cost", "hard", assigners.ASSIGNERS, "dynamic_soft_label"),
    ("loss.bbox_weight", 1.0, detection, "detection_losses"),
    ("loss.bbox", "ciou", detection, "detection_losses"),
    ("loss.quality_weighting", False, detection, "box_weights"),
    ("loss.cls_weight", 3.0, detection, "classification_loss"),
    ("loss.cls_beta", 1.0, detection, "classification_loss"),
    ("augment.hue", 30, phases, "strong_pipeline weak_pipeline"),
    ("augment.mixup_prob", 0.1, phases, "strong_pipeline weak_pipeline"),
    ("augment.resize_range", [1.0, 1.0], phases, "strong_pipeline weak_pipeline"),
    ("augment.cache_eviction", "random", phases, "strong_pipeline"),
    ("train.weight_decay", 0.5, step, "build_optimizer"),
    ("train.decay_norm_and_bias", True, step, "build_optimizer"),
    ("train.optimizer", "sgd", step, "build_optimizer"),
    ("train.schedule", "cosine", schedule, "lr_factor"),
    ("train.val_interval", 3, outcomes, "is_validated"),
    ("model.kernel_size", 9, detection, "RTMDet"),
    ("model.exp_on_reg", True, detection, "RTMDet"),
    ("test.nms_iou", 0.3, vars(detection.SPEC), "decode"),
    ("test.score_threshold", 0.3, vars(detection.SPEC), "decode"),
    ("test.max_per_image", 20, vars(detection.SPEC), "decode"),
]


# Forgotten by builders of which another setting stands above.
REPEATED = [
    "assigner.iou_weight",
    "assigner.center_base",
    "assigner.cls_cost",
    "loss.bbox",
    "loss.cls_beta",
    "augment.mixup_prob",
    "augment.resize_range",
    "train.decay_norm_and_bias",
    "train.optimizer",
    "model.exp_on_reg",
    "test.score_threshold",
    "test.max_per_image",
]


@pytest.mark.parametrize(
    ("name", "value", "place", "functions"),
    [pytest.param(*case, id=case[0], marks=[pytest.mark.slow] * (case[0] in REPEATED)) for case in FORGOTTEN],
)
def test_builder_that_forgets_a_setting_is_caught(name, value, place, functions, monkeypatch):
    base = {"train.lr": 0.001} if name == "train.optimizer" else {}  # left alone, the rate is that of the optimizer
    with pytest.MonkeyPatch.context() as healthy:
        remember(healthy)
        assert check({name: value}, **base)
    leaf = name.rpartition(".")[2]
    for function in functions.split():
        if isinstance(place, dict):
            monkeypatch.setitem(place, function, forgetting(place[function], leaf))
        else:
            monkeypatch.setattr(place, function, forgetting(getattr(place, function), leaf))
    with pytest.raises(SettingError, match=f"'{name}' changes nothing"):
        check({name: value}, **base)


def test_transform_that_forgets_its_own_setting_is_caught(monkeypatch):
    made = geometric.RandomFlip.__init__
    monkeypatch.setattr(geometric.RandomFlip, "__init__", lambda self, prob=0.5, **more: made(self, 0.5, **more))
    with pytest.raises(SettingError, match=r"'augment.flip_prob' changes nothing"):
        check({"augment.flip_prob": 1.0})


def test_loop_that_forgets_to_clip_is_caught(monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: None)
    with pytest.raises(SettingError, match=r"'train.grad_clip' changes nothing"):
        check({"train.grad_clip": 0.1})


def test_average_that_forgets_its_momentum_is_caught(monkeypatch):
    whole = step.ModelEMA
    monkeypatch.setattr(step, "ModelEMA", lambda model, momentum, gamma: whole(model, 0.0002, gamma))
    with pytest.raises(SettingError, match=r"'train.ema_momentum' changes nothing"):
        check({"train.ema_momentum": 0.01})
