"""Weights into a model and out of it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from made_networks import meta_model, noise, randomise_norms, small_model
from made_sets import assert_one_sentence

from rtmdet_lab.core.errors import CheckpointError, StorageError, UnknownNameError
from rtmdet_lab.models import checkpoints
from rtmdet_lab.models.backbone import CSPNeXtClassifier
from rtmdet_lab.models.checkpoints import guess_size, load_checkpoint, locate, read_checkpoint, save_weights
from rtmdet_lab.tasks.factory import create_model

SHAPES = Path(__file__).parents[1] / "fixtures" / "state_dict_shapes.json"


def published(path: Path, tensors, **more) -> Path:
    torch.save({"meta": {}, "state_dict": tensors, "optimizer": {"state": {}}} | more, path)
    return path


def save(path: Path, tensors, classes=("a", "b", "c")) -> Path:
    save_weights(path, tensors, model="rtmdet-s", classes=classes, config={"model": {"size": "s"}})
    return path


def trained(seed: int = 0, **settings):
    return randomise_norms(small_model(seed=seed, **settings), seed)


def assert_same_weights(one, other) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert list(first) == list(second)
    assert not [key for key in first if not torch.equal(first[key], second[key])]


def refused(model, source, *words: str, **options) -> str:
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(model, source, **options)
    return assert_one_sentence(error.value, str(source), *words)


@pytest.mark.parametrize("write", [published, save])
@pytest.mark.parametrize("sharing", ["convs", "all", "none"])
def test_round_trip_restores_every_weight(tmp_path, write, sharing):
    model, other = trained(1, **{"head.sharing": sharing}), trained(2, **{"head.sharing": sharing})
    path = write(tmp_path / ("w.pth" if write is published else "w.safetensors"), model.state_dict())
    report = load_checkpoint(other, path)
    assert (report.missing, report.unexpected, report.converted, report.skipped) == ([], [], [], [])
    assert len(report.loaded) == len(model.state_dict())
    assert not report.folded_norm
    assert_same_weights(model, other)


@pytest.mark.parametrize("classes", [("wide", "tall"), ("a, b", 'c"d', "é"), None])
def test_own_file_tells_model_classes_and_config(tmp_path, classes):
    read = read_checkpoint(save(tmp_path / "w.safetensors", {"a": torch.ones(2)}, classes))
    assert (read.model, read.classes, read.config) == ("rtmdet-s", classes, {"model": {"size": "s"}})


def test_own_file_is_known_by_its_content_whatever_its_name(tmp_path):
    path = save(tmp_path / "w.pth", {"a": torch.ones(2)})
    assert torch.equal(read_checkpoint(path).tensors["a"], torch.ones(2))


@pytest.mark.parametrize(
    ("meta", "classes"),
    [
        ({"dataset_meta": {"classes": ("a", "b")}}, ("a", "b")),
        ({"dataset_meta": {"CLASSES": ["a"]}}, ("a",)),
        ({"dataset_meta": {"CLASSES": "person"}}, ("person",)),
        ({"CLASSES": ("a", "b")}, ("a", "b")),
        ({"dataset_meta": None}, None),
        ({"dataset_meta": {"classes": 3}}, None),
        ("text", None),
    ],
)
def test_class_names_of_published_files_are_found(tmp_path, meta, classes):
    assert read_checkpoint(published(tmp_path / "w.pth", {"a": torch.ones(1)}, meta=meta)).classes == classes


@pytest.mark.parametrize(("theirs", "ours"), [(80, 3), (1, 2)])
def test_another_number_of_classes_is_refused_with_a_way_out_that_keeps_all_but_the_predictors(tmp_path, theirs, ours):
    model, other = trained(1, num_classes=theirs), trained(2, num_classes=ours)
    before = {key: value.clone() for key, value in other.state_dict().items()}
    path = published(tmp_path / "w.pth", model.state_dict())
    refused(other, path, f"{theirs} class", f"for {ours}", "reset_predictors=True", "--reset-predictors")
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())
    report = load_checkpoint(other, path, reset_predictors=True)
    predictors = [key for key in before if key.startswith("bbox_head.rtm_cls.")]
    assert report.skipped == predictors
    assert report.missing == []
    source = model.state_dict()
    for key, value in other.state_dict().items():
        assert torch.equal(value, before[key] if key in predictors else source[key]), key


@pytest.mark.parametrize(("theirs", "ours"), [("nano", "tiny"), ("tiny", "nano"), ("s", "tiny")])
@pytest.mark.parametrize("reset", [False, True])
def test_another_size_is_refused_and_recognised(tmp_path, theirs, ours, reset):
    path = published(tmp_path / "w.pth", create_model(f"rtmdet-{theirs}", 2).state_dict())
    refused(create_model(f"rtmdet-{ours}", 3), path, f"looks like size {theirs!r}", reset_predictors=reset)


@pytest.mark.parametrize("name", list(json.loads(SHAPES.read_text())))
def test_size_is_told_from_published_shapes(name):
    shapes = json.loads(SHAPES.read_text())[name]
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    assert guess_size(tensors) == name.rsplit("_", 1)[1]


def test_size_is_not_guessed_from_other_networks():
    assert guess_size(meta_model("rtmdet-nano").state_dict()) == "nano"
    assert guess_size(small_model().state_dict()) is None
    assert guess_size({"backbone.stem.2.conv.weight": torch.ones(3)}) is None
    assert guess_size({}) is None


def test_incomplete_file_loads_what_it_has_and_says_what_it_lacks(tmp_path):
    model, other = trained(1), trained(2)
    tensors = dict(model.state_dict())
    gone = [key for key in tensors if key.startswith("neck.")]
    for key in gone:
        del tensors[key]
    path = published(tmp_path / "w.pth", tensors | {"teacher.weight": torch.ones(1)})
    report = load_checkpoint(other, path)
    assert (report.missing, report.unexpected) == (gone, ["teacher.weight"])
    assert torch.equal(other.backbone.stem[0].conv.weight, model.backbone.stem[0].conv.weight)
    for part in (str(path), f"{len(gone)} missing", "1 unexpected (teacher.weight)"):
        assert part in str(report)
    with pytest.raises(CheckpointError) as error:
        report.require_complete()
    assert_one_sentence(error.value, str(path), str(len(gone)), gone[0])


def test_classifier_gives_its_backbone_and_nothing_else(tmp_path):
    model = trained()
    torch.manual_seed(3)
    classifier = CSPNeXtClassifier(model.config, num_classes=5)
    report = load_checkpoint(model, published(tmp_path / "w.pth", classifier.state_dict()))
    assert {key.split(".")[0] for key in report.loaded} == {"backbone"}
    assert {key.split(".")[0] for key in report.missing} == {"neck", "bbox_head"}
    assert report.unexpected == ["head.fc.weight", "head.fc.bias"]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_names_of_wrapped_models_are_unwrapped(tmp_path, prefix):
    model, other = trained(1), trained(2)
    path = published(tmp_path / "w.pth", {prefix + key: value for key, value in model.state_dict().items()})
    report = load_checkpoint(other, path)
    assert report.converted == list(model.state_dict())
    assert_same_weights(model, other)


def test_half_precision_weights_are_converted(tmp_path):
    model, other = trained(1), trained(2)
    tensors = {key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()}
    report = load_checkpoint(other, published(tmp_path / "w.pth", tensors))
    assert report.converted == [key for key, value in tensors.items() if value.dtype == torch.half]
    torch.testing.assert_close(other.backbone.stem[0].conv.weight, model.backbone.stem[0].conv.weight, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("folded", [True, False])
@torch.no_grad()
def test_folded_norm_is_noticed(tmp_path, folded):
    model = small_model()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.zero_()
            module.running_var.fill_(1)
            module.weight.fill_(1 if folded else 1.5)
            module.bias.fill_(0.1)
    assert load_checkpoint(small_model(seed=1), published(tmp_path / "w.pth", model.state_dict())).folded_norm == folded


def test_weights_of_something_else_are_refused(tmp_path):
    refused(small_model(), published(tmp_path / "w.pth", {"layer1.weight": torch.ones(2)}), "layer1")
    refused(small_model(), published(tmp_path / "e.pth", {}), "nothing")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated_own_file_is_named(tmp_path, share):
    path = save(tmp_path / "w.safetensors", {"a": torch.arange(1000.0)})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    refused(small_model(), path)


@pytest.mark.parametrize(
    "metadata", [{"classes": "[1"}, {"config": "{"}, {"classes": "3"}, {"config": "[]", "classes": "7.5"}]
)
def test_damaged_description_in_an_own_file_is_named(tmp_path, metadata):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors", metadata)
    refused(small_model(), tmp_path / "w.safetensors", "metadata")


def test_source_is_a_file_then_a_published_name(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(checkpoints, "fetch", lambda url, prefix: asked.append((url, prefix)) or Path("fetched"))
    monkeypatch.chdir(tmp_path)
    assert locate("rtmdet-tiny-coco") == Path("fetched")
    entry = checkpoints.ZOO["rtmdet-tiny-coco"]
    assert locate(entry.url) == Path("fetched")
    assert locate("https://example.org/w.pth") == Path("fetched")
    assert asked == [(entry.url, "78e30dcc"), (entry.url, "78e30dcc"), ("https://example.org/w.pth", "")]
    (tmp_path / "rtmdet-tiny-coco").write_bytes(b"")
    assert locate("rtmdet-tiny-coco") == Path("rtmdet-tiny-coco")
    assert len(asked) == 3


def test_source_that_does_not_exist_is_named(tmp_path):
    refused(small_model(), tmp_path, "folder")
    refused(small_model(), tmp_path / "gone.pth", "does not exist")
    with pytest.raises(UnknownNameError, match="did you mean 'rtmdet-s-coco'"):
        locate("rtmdet-s-coc")


@pytest.mark.parametrize("function", ["fsync", "replace", "chmod"])
def test_writer_that_fails_leaves_the_previous_file_as_it_was(tmp_path, monkeypatch, function):
    path = save(tmp_path / "w.safetensors", {"a": torch.ones(3)})
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, function, full)
        with pytest.raises(StorageError) as error:
            save(path, {"a": torch.zeros(3)})
    assert_one_sentence(error.value, str(path), "No space left", "intact")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_real_person_detector_loads_whole(real_data):
    model = create_model("rtmdet-nano", num_classes=1)
    path = real_data / "checkpoints" / "rtmdet_nano_person.pth"
    report = load_checkpoint(model, path).require_complete()
    assert (report.missing, report.unexpected, report.converted, report.skipped) == ([], [], [], [])
    assert report.loaded == list(model.state_dict())
    assert report.classes == ("person",)
    assert report.folded_norm
    assert guess_size(read_checkpoint(path).tensors) == "nano"
    found = model.eval()(noise(1, 3, 64, 64))
    assert found.logits.isfinite().all()
