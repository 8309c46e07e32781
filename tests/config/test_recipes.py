"""Every setting of the 14 published models at the full scale, beside the released configurations and docs/paper.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rtmdet_lab.config.overrides import from_dict, iter_settings, to_dict, with_overrides
from rtmdet_lab.config.presets import model_name, parse_model_name, resolve
from rtmdet_lab.config.recipes import describe_stages, published_recipe, shared_weak_epochs, with_scaled_weak_epochs
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.engine.weights import starting_weights
from rtmdet_lab.experiment.scale import SCALES
from rtmdet_lab.models.zoo import ZOO

PAPER = (Path(__file__).parents[2] / "docs" / "paper.md").read_text()
DETECTORS = [facts for facts in TASKS.values() if facts.dense]
MODELS = [model_name(facts.name, size) for facts in DETECTORS for size in facts.sizes if size != "nano"]

# What all 14 share (paper.md 3.1 to 3.5).
EVERY_MODEL = {
    "seed": 0,
    "model.num_classes": 80,
    "model.block": "large_kernel",
    "model.kernel_size": 5,
    "model.depthwise": False,
    "model.backbone.stage_blocks": (3, 6, 6, 3),
    "model.backbone.channel_attention": True,
    "model.backbone.expand_ratio": 0.5,
    "model.backbone.spp": True,
    "model.neck.expand_ratio": 0.5,
    "model.neck.blocks": 3,
    "model.head.sharing": "convs",
    "model.head.stacked_convs": 2,
    "model.head.shared_tower": None,
    "assigner.kind": "dynamic_soft_label",
    "assigner.topk": None,  # that of the kind: 13
    "assigner.cls_cost": "soft",
    "assigner.iou_cost": "log",
    "assigner.center_cost": "soft",
    "assigner.cls_weight": 1.0,
    "assigner.iou_weight": 3.0,
    "assigner.center_weight": 1.0,
    "assigner.center_radius": 3.0,
    "assigner.center_base": 10.0,
    "loss.cls": "quality_focal",
    "loss.cls_weight": 1.0,
    "loss.cls_beta": 2.0,
    "loss.bbox": "giou",
    "loss.bbox_weight": 2.0,
    "loss.quality_weighting": True,
    "loss.rotated": "rotated_iou",
    "loss.mask_weight": 2.0,
    "loss.mask_positives": None,  # all
    "augment.mosaic": True,
    "augment.mixup": True,
    "augment.partners": "cached",
    "augment.crop": True,
    "augment.one_resize": True,
    "augment.hsv": True,
    "augment.hue": 5,
    "augment.saturation": 30,
    "augment.value": 30,
    "augment.flip_prob": 0.5,
    "augment.rotated_recipe": "plain",
    "augment.rotated_flip_prob": 0.75,
    "augment.rotate_prob": 0.5,
    "train.init_weights": "",
    "train.reset_predictors": False,
    "train.gradient_accumulation_steps": 1,
    "train.optimizer": "adamw",
    "train.momentum": 0.9,
    "train.adam_betas": (0.9, 0.999),
    "train.adam_eps": 1e-8,
    "train.weight_decay": 0.05,
    "train.decay_norm_and_bias": False,
    "train.schedule": "flat_cosine",
    "train.lr_floor": 0.05,
    "train.warmup_steps": 1000,
    "train.warmup_factor": 1e-5,
    "train.grad_clip": None,
    "train.ema": True,
    "train.ema_momentum": 0.0002,
    "train.ema_gamma": 2000,
    "train.amp": "off",
    "train.norm_eval": None,
    "train.score_of": "last",
    "test.tile": None,
    "test.overlap": 200,
    "test.tta": False,
    "test.tta_scales": None,
    "test.tta_flip": None,
    "test.tta_nms_iou": None,
    "test.tta_max_per_image": None,
    "data.classes": None,
    "data.repeat": 1,
    "data.skip_empty": True,
    "data.min_image_size": 32,
}
OF_TASK = {
    "detection": {
        "augment.input_size": 640,
        "augment.empty_crops": False,
        "train.epochs": 300,
        "train.weak_epochs": 20,
        "train.batch_size": 256,
        "train.lr": 0.004,
        "train.val_interval": 10,
        "test.input_size": 640,
        "test.score_threshold": 0.001,
        "test.nms_iou": 0.65,
        "test.max_per_level": 30000,
        "test.max_per_image": 300,
    },
    "instance": {
        "model.head.shared_tower": True,
        "augment.input_size": 640,
        "augment.empty_crops": True,
        "train.epochs": 300,
        "train.weak_epochs": 20,
        "train.batch_size": 256,
        "train.lr": 0.004,
        "train.val_interval": 10,
        "test.input_size": 640,
        "test.score_threshold": 0.05,
        "test.nms_iou": 0.6,
        "test.max_per_level": 1000,
        "test.max_per_image": 100,
    },
    "rotated": {
        "augment.input_size": 1024,
        # The plain recipe has neither mosaic, mixup, jitter nor crop: these stay open and are not read.
        **dict.fromkeys([f"augment.{name}" for name in ("empty_crops", "resize_range", "cache_eviction", "mixup_prob")]),
        **dict.fromkeys(["augment.mosaic_cache", "augment.mixup_cache"]),
        "train.epochs": 36,
        "train.weak_epochs": 0,
        "train.batch_size": 8,
        "train.lr": 0.00025,
        "train.val_interval": 12,
        "test.input_size": 1024,
        "test.score_threshold": 0.05,
        "test.nms_iou": 0.1,
        "test.max_per_level": 2000,
        "test.max_per_image": 2000,
    },
}


def size_row(depth, width, exp_on_reg, imagenet, resize, caches, pop, mixup_prob):
    values = {"depth": depth, "width": width, "exp_on_reg": exp_on_reg, "pretrained_backbone": imagenet}
    jitter = {"resize_range": resize, "mosaic_cache": caches[0], "mixup_cache": caches[1], "cache_eviction": pop}
    jitter["mixup_prob"] = mixup_prob
    return {f"model.{name}": value for name, value in values.items()} | {
        f"augment.{name}": value for name, value in jitter.items()
    }


SIZES = {
    "tiny": size_row(0.167, 0.375, False, True, (0.5, 2.0), (20, 10), "oldest", 0.5),
    "s": size_row(0.33, 0.5, False, True, (0.5, 2.0), (40, 20), "random", 1.0),
    "m": size_row(0.67, 0.75, True, False, (0.1, 2.0), (40, 20), "random", 1.0),
    "l": size_row(1.0, 1.0, True, False, (0.1, 2.0), (40, 20), "random", 1.0),
    "x": size_row(1.33, 1.25, True, False, (0.1, 2.0), (40, 20), "random", 1.0),
}
# How fast and by whom a run is computed, and where its files are: no part of any recipe.
NO_RECIPE = ("channels_last", "compile", "keep_every", "workers", "batch_size", "images", "annotations", "on_bad", "decode")


def no_recipe(name: str) -> bool:
    if name == "train.batch_size":
        return False
    return name.startswith(("train.", "test.", "data.")) and name.endswith((*NO_RECIPE, "cache_decoded"))


def published(model: str) -> dict:
    task, size = parse_model_name(model)
    row = EVERY_MODEL | {"task": task, "model.size": size} | SIZES[size] | OF_TASK[task]
    if task == "instance":
        row["model.exp_on_reg"] = False
    if task == "rotated":
        row["model.pretrained_backbone"] = True
    if model == "rtmdet-ins-x":
        row |= {"train.batch_size": 128, "train.lr": 0.002}
    return row


def full(model: str, **overrides) -> ExperimentConfig:
    task, size = parse_model_name(model)
    config = with_overrides(ExperimentConfig(), {"task": task, "model.size": size})
    return SCALES[task]["paper"].apply(config, overrides)


def test_there_are_14_models():
    assert len(MODELS) == 14


@pytest.mark.parametrize("model", MODELS)
def test_every_setting_on_the_full_scale_is_the_published_one(model):
    found = {name: value for name, value in iter_settings(full(model)) if not no_recipe(name)}
    assert found == published(model)


@pytest.mark.parametrize("model", MODELS)
def test_a_setting_left_alone_is_the_published_one_and_nothing_is_downloaded_for_it(model):
    task, size = parse_model_name(model)
    plain = resolve(with_overrides(ExperimentConfig(), {"task": task, "model.size": size}))
    found = {name: value for name, value in iter_settings(plain) if not no_recipe(name)}
    assert found == published(model) | {"model.pretrained_backbone": False}
    assert starting_weights(plain).source == ""


@pytest.mark.parametrize("model", MODELS)
def test_weights_that_a_run_starts_from_have_a_name_that_is_published(model):
    name = starting_weights(full(model)).source
    task, size = parse_model_name(model)
    assert bool(name) == (task == "rotated" or size in ("tiny", "s"))
    if name:
        assert ZOO[name].model == size


def table(title: str) -> dict[str, list[str]]:
    """Returns the first table below a heading of docs/paper.md: first cell to the others."""
    part = PAPER[PAPER.index(f"### {title}") :].partition("\n### ")[0]
    lines = list(re.findall(r"^\|.*\|$", part, flags=re.M))
    rows = [[cell.strip().replace("*", "") for cell in line.strip("|").split("|")] for line in lines]
    head = rows[0]
    return {"": head[1:]} | {row[0]: row[1:] for row in rows[2:] if len(row) == len(head)}


def test_size_table_of_the_document_says_the_same():
    rows = table("3.1 Size table")
    for column, size in enumerate(rows[""]):
        want = published(f"rtmdet-{size}")
        cell = {name: cells[column] for name, cells in rows.items()}
        assert float(cell["depth multiplier"]) == want["model.depth"]
        assert float(cell["width multiplier"]) == want["model.width"]
        assert (cell["box distance: exponential (`exp_on_reg`)"] == "yes") == want["model.exp_on_reg"]
        starts = next(value for name, value in cell.items() if "ImageNet" in name)
        assert (starts == "yes") == want["model.pretrained_backbone"]
        jitter = next(value for name, value in cell.items() if "jitter" in name or "resize" in name)
        assert tuple(map(float, jitter.split("-"))) == want["augment.resize_range"]
        mosaic = next(value for name, value in cell.items() if name.startswith("mosaic"))
        mixup = next(value for name, value in cell.items() if name.startswith("mixup"))
        pops = {"FIFO": "oldest", "random": "random"}
        number, pop = mosaic.split(" / ")
        assert (int(number), pops[pop]) == (want["augment.mosaic_cache"], want["augment.cache_eviction"])
        number, pop, prob = mixup.split(" / ")
        assert (int(number), pops[pop]) == (want["augment.mixup_cache"], want["augment.cache_eviction"])
        assert float(prob) == want["augment.mixup_prob"]


def test_recipe_tables_of_the_document_say_the_same():
    rows, want = table("3.2 Detection on COCO"), published("rtmdet-s")
    numbers = {
        name: [float(one) for one in re.findall(r"(?<![\w.])\d[\d.]*(?:e-\d+)?\b", cells[0])]
        for name, cells in rows.items()
        if name
    }
    assert numbers["base lr"][:2] == [want["train.lr"], want["train.batch_size"]]
    assert numbers["weight decay"][0] == want["train.weight_decay"]
    assert numbers["epochs"][0] == want["train.epochs"]
    assert want["train.weak_epochs"] in numbers["epochs"]
    warm = next(values for name, values in numbers.items() if name.startswith("warm"))
    assert {want["train.warmup_steps"], want["train.warmup_factor"]} <= set(warm)
    rows, want = table("3.7 RTMDet-R"), published("rtmdet-r-s")
    assert rows["epochs"][0] == str(want["train.epochs"])
    assert rows["base lr"][0].startswith(str(want["train.lr"]))
    assert rows["total batch"][0].startswith(str(want["train.batch_size"]))
    assert rows["image"][0] == str(want["augment.input_size"])
    rows = table("3.6 RTMDet-Ins")
    assert rows["x model"][0] == "batch 128 (16 images per GPU), lr 0.002"


def test_recipe_with_mosaic_and_mixup_of_rotated_boxes_takes_longer():
    config = full("rtmdet-r-l", **{"augment.rotated_recipe": "mixing"})
    train = config.train
    assert (train.epochs, train.weak_epochs, train.batch_size, train.lr, train.val_interval) == (100, 10, 8, 0.00025, 34)
    assert (config.augment.mosaic_cache, config.augment.mixup_cache, config.augment.resize_range) == (40, 20, (0.1, 2.0))
    assert config.model.pretrained_backbone is True


# ---- epochs given alone


@pytest.mark.parametrize(
    ("epochs", "weak"), [(1, 1), (2, 1), (12, 1), (20, 1), (30, 2), (150, 10), (299, 20), (300, 20), (600, 40)]
)
def test_weak_epochs_keep_their_published_share_of_the_epochs_given(epochs, weak):
    config = resolve(with_overrides(ExperimentConfig(), {"train.epochs": epochs}))
    assert (config.train.epochs, config.train.weak_epochs) == (epochs, weak)
    assert resolve(config) == config


@pytest.mark.parametrize(
    ("weak", "of", "epochs", "expected"), [(0, 300, 5, 0), (300, 300, 7, 7), (20, 20, 5, 5), (30, 20, 4, 4)]
)
def test_shares(weak, of, epochs, expected):
    assert shared_weak_epochs(epochs, weak, of) == expected


def test_weak_epochs_that_were_named_before_keep_their_share_too():
    config = with_overrides(ExperimentConfig(), {"train.epochs": 6, "train.weak_epochs": 6})
    assert with_scaled_weak_epochs(config, {"train.epochs": 8}).train.weak_epochs == 8
    assert with_scaled_weak_epochs(config, {"train.epochs": 8, "train.weak_epochs": 2}).train.weak_epochs == 2
    assert with_scaled_weak_epochs(config, {"train": {"epochs": 8, "weak_epochs": 6}}).train.weak_epochs == 6
    assert with_scaled_weak_epochs(config, {"train": {"epochs": 8}}).train.weak_epochs == 8
    assert with_scaled_weak_epochs(config, {"train.lr": 0.1}).train.weak_epochs == 6
    left_alone = with_scaled_weak_epochs(ExperimentConfig(), {"train.epochs": 8})
    assert left_alone.train.weak_epochs is None
    named = with_overrides(ExperimentConfig(), {"train.weak_epochs": 60})  # of the published 300
    assert with_scaled_weak_epochs(named, {"train.epochs": 10}).train.weak_epochs == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train.epochs": 12}, "12 epochs: 11 with strong augmentation, then 1 with weak (train.weak_epochs)"),
        (
            {"train.epochs": 1},
            "1 epoch, all with weak augmentation: mosaic and mixup have no part in them (train.weak_epochs is 1)",
        ),
        ({"train.epochs": 3, "train.weak_epochs": 0}, "3 epochs, all with strong augmentation (train.weak_epochs is 0)"),
        ({"task": "rotated"}, "36 epochs of the plain recipe of the task rotated"),
        (
            {"task": "rotated", "augment.rotated_recipe": "mixing", "train.epochs": 20},
            "20 epochs: 18 with strong augmentation, then 2 with weak (train.weak_epochs)",
        ),
    ],
)
def test_how_epochs_are_spent_is_said_in_words(changes, words):
    assert describe_stages(resolve(with_overrides(ExperimentConfig(), changes))) == words


def test_weak_epochs_of_a_recipe_without_a_weak_stage_are_refused():
    with pytest.raises(SettingError, match=r"train.weak_epochs is 2, but the plain recipe of the task rotated .*: leave it"):
        resolve(with_overrides(ExperimentConfig(task="rotated"), {"train.weak_epochs": 2}))


def test_records_and_weights_of_earlier_versions_still_load():
    """They hold the weak epochs of the other tasks, which the plain recipe of rotated boxes never had."""
    plain = to_dict(resolve(with_overrides(ExperimentConfig(task="rotated"), {"train.epochs": 5})))
    plain["train"]["weak_epochs"] = 20
    assert resolve(from_dict(plain)).train.weak_epochs == 0
    mixing = to_dict(resolve(with_overrides(ExperimentConfig(task="rotated"), {"augment.rotated_recipe": "mixing"})))
    assert resolve(from_dict(mixing)).train.weak_epochs == 10


@pytest.mark.parametrize(
    ("task", "size", "batch_size", "lr"),
    [
        ("instance", "x", 256, 0.004),
        ("instance", "x", 16, 0.00025),
        ("instance", "l", 128, 0.002),
        ("rotated", "l", 16, 0.0005),
    ],
)
def test_rate_follows_the_batch_from_the_published_pair(task, size, batch_size, lr):
    changes = {"task": task, "model.size": size, "train.batch_size": batch_size}
    assert resolve(with_overrides(ExperimentConfig(), changes)).train.lr == pytest.approx(lr, rel=1e-12)


def test_recipes_of_tasks_know_every_size():
    for task, facts in TASKS.items():
        for size in facts.sizes:
            assert published_recipe(task, size).epochs in (36, 300, 600)
