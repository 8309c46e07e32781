"""What a weight file knows of itself against the model it is loaded into."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from made_networks import SMALL, noise, randomise_norms, small_model
from made_sets import assert_one_sentence

from rtmdet_lab.config.overrides import to_dict
from rtmdet_lab.core.errors import CheckpointError
from rtmdet_lab.models.checkpoints import load_checkpoint, save_weights
from rtmdet_lab.models.knowledge import knowledge_of
from rtmdet_lab.tasks.factory import create_model

pytestmark = pytest.mark.lengthy

NAMES = ("car", "bus", "tram")


def own_file(path: Path, model, classes=NAMES, task="detection") -> Path:
    config = {"task": task, "model": to_dict(model.config)}
    save_weights(path, model.state_dict(), model="rtmdet-s", classes=classes, config=config)
    return path


def refused(model, path: Path, *words: str, **options) -> str:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(model, path, **options)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    return assert_one_sentence(error.value, str(path), *words)


def named(classes, **settings):
    model = small_model(len(classes), seed=7, **settings)
    model.classes = classes
    return model


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        ({"exp_on_reg": True}, {"exp_on_reg": False}, "model.exp_on_reg=true"),
        ({"exp_on_reg": False}, {"exp_on_reg": True}, "model.exp_on_reg=false"),
        ({"depthwise": True}, {}, "model.depthwise=true"),
        ({"block": "darknet"}, {}, "model.block=darknet"),
        ({"block": "ppyoloe_rep"}, {"block": "darknet"}, "model.block=ppyoloe_rep"),
        ({"kernel_size": 7}, {}, "model.kernel_size=7"),
        ({"backbone.stage_blocks": [3, 9, 9, 3], "depth": 1.0}, {"depth": 1.0}, "stage_blocks=[3, 9, 9, 3]"),
        ({"backbone.channel_attention": False}, {}, "model.backbone.channel_attention=false"),
        ({}, {"backbone.channel_attention": False}, "model.backbone.channel_attention=true"),  # the file has more
        ({"backbone.spp": False}, {}, "model.backbone.spp=false"),
        ({}, {"neck.expand_ratio": 0.25}, "model.neck.expand_ratio=0.5"),
        ({"head.stacked_convs": 3}, {}, "model.head.stacked_convs=3"),
        ({"head.stacked_convs": 1}, {}, "model.head.stacked_convs=1"),
        ({"head.sharing": "none"}, {}, "model.head.sharing"),
        ({"head.sharing": "none"}, {"head.sharing": "all"}, "model.head.sharing"),
        ({"head.sharing": "convs"}, {"head.sharing": "all"}, "model.head.sharing"),
        ({"width": 0.25}, {}, "model.width=0.25"),
        ({"width": 0.25, "exp_on_reg": True}, {"exp_on_reg": False}, "model.width=0.25 model.exp_on_reg=true"),
    ],
    ids=str,
)
@pytest.mark.parametrize("reset", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_setting_that_changes_what_the_weights_mean_is_named_with_both_values(tmp_path, theirs, ours, words, reset):
    path = own_file(tmp_path / "w.safetensors", randomise_norms(small_model(seed=1, **theirs), 1))
    refused(small_model(seed=2, **ours), path, words, "was trained with", reset_predictors=reset)


@pytest.mark.parametrize(
    ("theirs", "ours"), [("all", "convs"), ("all", "none"), ("convs", "none"), ("none", "none"), ("convs", "convs")]
)
def test_weights_shared_in_the_file_compute_the_same_in_a_model_that_shares_less(tmp_path, theirs, ours):
    model = randomise_norms(small_model(seed=1, **{"head.sharing": theirs}), 1)
    other = small_model(seed=2, **{"head.sharing": ours})
    report = load_checkpoint(other, own_file(tmp_path / "w.safetensors", model)).require_complete()
    images = noise(1, 3, 64, 64)
    torch.testing.assert_close(other(images).logits, model(images).logits, rtol=0, atol=0)
    torch.testing.assert_close(other(images).boxes, model(images).boxes, rtol=0, atol=0)
    assert [f"model.head.sharing {theirs}" in note for note in report.notes] == [True] * (theirs != ours)


def test_levels_that_differ_are_noticed_without_a_word_in_the_file(tmp_path):
    separate = small_model(seed=1, **{"head.sharing": "none"})
    torch.save(separate.state_dict(), tmp_path / "bare.pth")
    refused(small_model(), tmp_path / "bare.pth", "model.head.sharing", "bbox_head.cls_convs.0", "bbox_head.cls_convs.1")
    load_checkpoint(small_model(**{"head.sharing": "none"}), tmp_path / "bare.pth").require_complete()


def instance(seed: int, **settings):
    torch.manual_seed(seed)
    return create_model("rtmdet-ins-s", 3, **SMALL | settings).eval()


def test_tower_of_its_own_does_not_fit_where_class_and_box_share_one(tmp_path):
    two, one = {"head.shared_tower": False}, {"head.shared_tower": True}
    path = own_file(tmp_path / "two.safetensors", instance(1, **two), task="instance")
    refused(instance(2, **one), path, "model.head.shared_tower false", "model.head.shared_tower true")
    torch.save(instance(1, **two).state_dict(), tmp_path / "two.pth")
    refused(instance(2, **one), tmp_path / "two.pth", "model.head.shared_tower", "cls_convs", "reg_convs")
    model, other = instance(1, **one), instance(2, **two)
    report = load_checkpoint(other, own_file(tmp_path / "one.safetensors", model, task="instance")).require_complete()
    images = noise(1, 3, 64, 64)
    torch.testing.assert_close(other(images).boxes, model(images).boxes, rtol=0, atol=0)
    assert "model.head.shared_tower true" in report.notes[0]


@pytest.mark.parametrize(("theirs", "ours"), [("detection", "rotated"), ("rotated", "detection"), ("instance", "detection")])
@pytest.mark.parametrize("own", [True, False])
def test_weights_of_another_task_are_refused_by_name(tmp_path, theirs, ours, own):
    prefix = {"detection": "rtmdet-s", "rotated": "rtmdet-r-s", "instance": "rtmdet-ins-s"}
    model = create_model(prefix[theirs], 3, **SMALL)
    path = tmp_path / ("w.safetensors" if own else "w.pth")
    own_file(path, model, task=theirs) if own else torch.save(model.state_dict(), path)
    refused(create_model(prefix[ours], 3, **SMALL), path, f"task {theirs}", f"for {ours}")


def test_setting_of_a_later_version_that_does_not_concern_the_weights_is_no_reason_to_refuse(tmp_path):
    config = {"task": "detection", "model": to_dict(small_model().config), "train": {"of_a_later_version": 1}}
    tensors = small_model(seed=1).state_dict()
    save_weights(tmp_path / "w.safetensors", tensors, model="rtmdet-s", classes=NAMES, config=config)
    load_checkpoint(small_model(), tmp_path / "w.safetensors").require_complete()
    config["model"]["of_a_later_version"] = 1
    save_weights(tmp_path / "w.safetensors", tensors, model="rtmdet-s", classes=NAMES, config=config)
    refused(small_model(), tmp_path / "w.safetensors", "of_a_later_version")


def test_depths_that_make_the_same_network_are_the_same(tmp_path):
    path = own_file(tmp_path / "w.safetensors", small_model(depth=0.167))
    load_checkpoint(small_model(depth=0.17), path).require_complete()


def published(path: Path, model, classes=None, text: str | None = None) -> Path:
    meta = {} if classes is None else {"dataset_meta": {"classes": classes}}
    torch.save({"meta": meta | ({"cfg": text} if text is not None else {}), "state_dict": model.state_dict()}, path)
    return path


def test_more_weights_than_the_model_has_a_place_for_are_no_complete_load(tmp_path):
    path = published(tmp_path / "w.pth", small_model(seed=1))
    report = load_checkpoint(small_model(**{"backbone.channel_attention": False}), path)
    assert report.missing == []
    with pytest.raises(CheckpointError) as error:
        report.require_complete()
    assert_one_sentence(error.value, str(path), "no place for", "attention")


@pytest.mark.parametrize("write", [own_file, published])
def test_class_rows_go_by_name(tmp_path, write):
    model, path = small_model(3, seed=1), tmp_path / ("w.pth" if write is published else "w.safetensors")
    write(path, model, NAMES)
    for classes in (("tram", "car", "bus"), ("bus",), ("tram", "car"), NAMES):
        other = named(classes)
        report = load_checkpoint(other, path).require_complete()
        rows = [NAMES.index(name) for name in classes]
        for mine, theirs in zip(other.bbox_head.rtm_cls, model.bbox_head.rtm_cls, strict=True):
            assert torch.equal(mine.weight, theirs.weight[rows])
            assert torch.equal(mine.bias, theirs.bias[rows])
        assert bool(report.notes) == (classes != NAMES)
        assert ("bbox_head.rtm_cls.0.bias" in report.converted) == (classes != NAMES)


def test_classes_that_the_file_lacks_are_refused_or_stay_as_they_are_with_a_word(tmp_path):
    model = small_model(3, seed=1)
    path = own_file(tmp_path / "w.safetensors", model)
    refused(named(("bus", "ship")), path, "no class 'ship'", "'car', 'bus', 'tram'")
    other = named(("ship", "bus", "kite", "car"))
    before = other.bbox_head.rtm_cls[1].weight.clone()
    report = load_checkpoint(other, path, new_classes=True).require_complete()
    after, theirs = other.bbox_head.rtm_cls[1].weight, model.bbox_head.rtm_cls[1].weight
    assert torch.equal(after[[1, 3]], theirs[[1, 0]])
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert "2 of 3 are used, 2 new one(s) start untrained ('ship', 'kite')" in report.notes[0]


@pytest.mark.parametrize("classes", [("ship", "kite", "plane"), ("ship",), ("Car", "BUS")])
def test_classes_of_which_the_file_knows_none_are_refused_in_any_number(tmp_path, classes):
    path = own_file(tmp_path / "w.safetensors", small_model(3, seed=1))
    refused(named(classes), path, f"'{classes[0]}'", "'car', 'bus', 'tram'", "--reset-predictors", new_classes=True)
    report = load_checkpoint(named(classes), path, reset_predictors=True).require_complete()
    assert len(report.skipped) == 6


@pytest.mark.parametrize(
    ("names", "reason"), [(None, "does not name"), (("a", "b"), "names 2 classes"), (("a", "a", "b"), "'a' 2 times")]
)
def test_order_is_assumed_with_a_word_where_the_file_has_no_usable_names(tmp_path, names, reason):
    path = published(tmp_path / "w.pth", small_model(3, seed=1), names)
    (note,) = load_checkpoint(named(NAMES), path).require_complete().notes
    assert "in the order of 'car', 'bus', 'tram'" in note
    assert reason in note
    refused(named(("car", "bus")), path, "3 class(es)", "for 2", "--reset-predictors")


def test_model_without_names_takes_those_of_its_weights_and_is_then_held_to_them(tmp_path):
    path = own_file(tmp_path / "w.safetensors", small_model(3, seed=1))
    other = own_file(tmp_path / "other.safetensors", small_model(3, seed=2), ("tram", "car", "bus"))
    model = small_model(3)
    load_checkpoint(model, path)
    assert model.classes == NAMES
    assert load_checkpoint(model, other).notes
    assert torch.equal(model.bbox_head.rtm_cls[0].bias, small_model(3, seed=2).bbox_head.rtm_cls[0].bias[[1, 2, 0]])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "key", ["backbone.stem.0.conv.weight", "bbox_head.rtm_reg.2.bias", "neck.out_convs.0.bn.running_var"]
)
@pytest.mark.parametrize("write", [own_file, published])
def test_weights_that_are_not_finite_are_refused_by_key(tmp_path, value, key, write):
    model = small_model(3, seed=1)
    model.state_dict()[key].view(-1)[0] = value
    path = write(tmp_path / ("w.pth" if write is published else "w.safetensors"), model, NAMES)
    refused(small_model(3), path, key, "1 values", "NaN or infinite")


HEAD = "type='mmdet.RTMDetSepBNHead', anchor_generator=dict(type='MlvlPointGenerator', strides=[8, 16, 32])"
PIXELS = "mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], bgr_to_rgb=False"
BACKBONE = "act_cfg=dict(type='SiLU', inplace=True), norm_cfg=dict(type='SyncBN')"


def text_of(head=HEAD, pixels=PIXELS, backbone=BACKBONE) -> str:
    return f"""import os
model = dict(data_preprocessor=dict({pixels}), backbone=dict({backbone}), bbox_head=dict({head}))
epochs = compute(5)
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (text_of(head=HEAD + ", exp_on_reg=True"), "model.exp_on_reg=true"),
        (text_of(head=HEAD.replace("[8, 16, 32]", "[4, 8, 16]")), "strides [4, 8, 16], but here it is [8, 16, 32]"),
        (text_of(head=HEAD.replace("RTMDetSepBNHead", "RotatedRTMDetSepBNHead")), "task rotated"),
        (text_of(pixels=PIXELS.replace("False", "True")), "order of colors RGB, but here it is BGR"),
        (text_of(pixels="mean=[0, 0, 0], std=[255., 255., 255.]"), "mean of pixels [0.0, 0.0, 0.0]"),
        (text_of(backbone="act_cfg=dict(type='ReLU')"), "activation ReLU"),
        (text_of(backbone="norm_cfg=dict(type='BN', eps=0.001)"), "eps of the norms 0.001"),
    ],
)
def test_configuration_in_a_foreign_file_is_compared(tmp_path, text, words):
    refused(small_model(3), published(tmp_path / "w.pth", small_model(3, seed=1), text=text), words)


@pytest.mark.parametrize(
    "text", ["", text_of(), "not python (", "(" * 5000, "x = 1\n" * 10, "model = 5\nmodel.bbox_head = 3"]
)
def test_configuration_that_agrees_or_says_nothing_changes_nothing(tmp_path, text):
    load_checkpoint(small_model(3), published(tmp_path / "w.pth", small_model(3, seed=1), text=text)).require_complete()


@pytest.mark.parametrize(
    "text",
    [
        text_of(pixels=f"mean=[{'9' * 400}, 0, 0], std=[1, 1, 1]"),
        text_of(head=HEAD.replace("[8, 16, 32]", "[b'x', 1j, ...]")),
        text_of(head=HEAD.replace("[8, 16, 32]", "['a\\x1b[2J']")),
        text_of(backbone="act_cfg=dict(type={'a': 5}), norm_cfg=7"),
    ],
    ids=range(4),
)
def test_absurd_configuration_in_a_foreign_file_ends_in_a_sentence(tmp_path, text):
    refused(small_model(3), published(tmp_path / "w.pth", small_model(3, seed=1), text=text), "which cannot be changed")


@pytest.mark.parametrize("size", [999_999_968, 33, 0, -64])
def test_size_that_no_network_takes_is_passed_over(size):
    text = f"test_pipeline = [dict(type='Resize', scale=({size}, {size}))]"
    assert knowledge_of("w.pth", small_model().state_dict(), None, text).input_size is None


@pytest.mark.parametrize("classes", [5, "text", {"a": 1}, []], ids=str)
def test_class_names_of_another_form_in_a_configuration_say_nothing(tmp_path, classes):
    config = {"task": "detection", "model": to_dict(small_model().config), "data": {"classes": classes}}
    path = tmp_path / "w.safetensors"
    save_weights(path, small_model(seed=1).state_dict(), model="rtmdet-s", classes=NAMES, config=config)
    load_checkpoint(small_model(), path).require_complete()


def test_configuration_in_a_foreign_file_runs_nothing(tmp_path):
    text = f"open({str(tmp_path / 'marker')!r}, 'w')\nx = __import__('os').mkdir({str(tmp_path / 'marker')!r})\n{text_of()}"
    load_checkpoint(small_model(3), published(tmp_path / "w.pth", small_model(3, seed=1), text=text))
    assert not (tmp_path / "marker").exists()


def test_published_weights_are_held_to_the_settings_of_their_size_by_name(tmp_path, monkeypatch):
    stem = "rtmdet_m_8xb32-300e_coco_20220719_112220-229f527c.pth"
    with torch.device("meta"):
        shapes = create_model("rtmdet-m").state_dict()
    torch.save({key: torch.zeros(value.shape, dtype=value.dtype) for key, value in shapes.items()}, tmp_path / stem)
    model = create_model("rtmdet-m", exp_on_reg=False)
    refused(model, tmp_path / stem, "model.exp_on_reg true", "model.exp_on_reg false")


def test_size_that_weights_are_for_is_taken_over(tmp_path):
    config = {"task": "detection", "model": to_dict(small_model().config), "augment": {"input_size": 320}}
    save_weights(
        tmp_path / "w.safetensors", small_model(seed=1).state_dict(), model="rtmdet-s", classes=NAMES, config=config
    )
    model = small_model()
    load_checkpoint(model, tmp_path / "w.safetensors")
    assert model.input_size == 320
