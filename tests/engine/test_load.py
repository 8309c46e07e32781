"""From a weight file to a task."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from made_runs import make_config, make_task
from made_sets import assert_one_sentence

from rtmdet_lab.config.overrides import to_dict
from rtmdet_lab.core.errors import CheckpointError, UnknownNameError, UserError
from rtmdet_lab.engine.load import task_from_checkpoint
from rtmdet_lab.models.checkpoints import save_weights
from rtmdet_lab.tasks.factory import create_model


@pytest.fixture(scope="module")
def trained():
    return make_task()


@pytest.fixture
def own(trained, tmp_path):
    """Returns a file as a run leaves it."""
    path = tmp_path / "best.safetensors"
    config = to_dict(make_config(**{"train.init_weights": "somewhere.pth"}))
    save_weights(path, trained.model.state_dict(), model="rtmdet-nano", classes=("wide", "tall"), config=config)
    return path


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """Returns a published-looking file of a person detector, without a word about the model."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("foreign") / "weights.pth"
    model = create_model("rtmdet-nano", num_classes=1)
    torch.save({"meta": {"dataset_meta": {"classes": "person"}}, "state_dict": model.state_dict()}, path)
    return path


def refused(kind, *words, **arguments):
    with pytest.raises(kind) as error:
        task_from_checkpoint(**arguments)
    return assert_one_sentence(error.value, *words)


def test_own_file_tells_everything(own, trained):
    task = task_from_checkpoint(own)
    assert task.config.model.width == 0.125
    assert task.config.data.classes == ("wide", "tall")
    assert task.config.model.num_classes == 2
    assert task.config.train.init_weights == ""  # the weights are in the file now
    assert not task.model.training
    wanted = trained.model.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in task.model.state_dict().items())


def test_test_settings_are_taken_over(own):
    config = task_from_checkpoint(own, score_threshold=0.3, input_size=96, max_per_image=7).config.test
    assert (config.score_threshold, config.input_size, config.max_per_image) == (0.3, 96, 7)


def test_input_size_is_the_tile_or_that_of_the_training_where_it_is_not_given(own):
    for given, size in (({}, 64), ({"input_size": None}, 64), ({"tile": 320}, 320), ({"tile": 320, "input_size": 96}, 96)):
        task = task_from_checkpoint(own, **given)
        assert task.config.test.input_size == task.model.input_size == size


def test_unknown_test_setting_gets_a_suggestion(own):
    refused(UnknownNameError, "score_treshold", "did you mean", source=own, score_treshold=0.3)


def test_classes_are_a_choice_by_name_whatever_their_order(own, trained):
    task = task_from_checkpoint(own, classes=["tall", "wide"])
    assert task.config.data.classes == task.model.classes == ("tall", "wide")
    assert task.config.model.num_classes == 2
    for level, theirs in zip(task.model.bbox_head.rtm_cls, trained.model.bbox_head.rtm_cls, strict=True):
        assert torch.equal(level.weight, theirs.weight[[1, 0]])
        assert torch.equal(level.bias, theirs.bias[[1, 0]])
    only = task_from_checkpoint(own, classes=["tall"])
    assert only.config.model.num_classes == only.model.num_classes == 1
    assert torch.equal(only.model.bbox_head.rtm_cls[2].bias, trained.model.bbox_head.rtm_cls[2].bias[1:])


def test_class_that_the_weights_lack_is_named_with_a_suggestion_for_misspellings_alone(own):
    assert "did you mean 'wide'?" in refused(CheckpointError, "'wid'", "'wide', 'tall'", source=own, classes=["wid"])
    assert "did you mean" not in refused(CheckpointError, "'ring'", "'wide', 'tall'", source=own, classes=["ring"])
    refused(CheckpointError, "'wide' twice", source=own, classes=["wide", "wide"])


def test_classes_can_be_called_something_else_but_not_exchanged(own):
    renamed = task_from_checkpoint(own, class_names=["horizontal", "vertical"])
    assert renamed.config.data.classes == ("horizontal", "vertical")
    chosen = task_from_checkpoint(own, classes=["vertical"], class_names=["horizontal", "vertical"])
    assert chosen.model.classes == ("vertical",)
    assert torch.equal(chosen.model.bbox_head.rtm_cls[0].bias, renamed.model.bbox_head.rtm_cls[0].bias[1:])
    for names in (["tall", "wide"], ["tall", "other"]):
        refused(CheckpointError, "'tall'", "classes (--classes)", source=own, class_names=names)
    refused(CheckpointError, "'a' 2 times", source=own, class_names=["a", "a"])


def test_other_number_of_names_names_both_numbers_and_a_way_out_that_exists_here(own):
    message = refused(CheckpointError, "2 class", "3", "--class-names", source=own, class_names=["a", "b", "c"])
    # Scoring a network without its class predictors is no way out: the names have to be as many as the file's.
    assert "reset" not in message


def test_class_of_a_file_without_names_asks_for_them(tmp_path):
    torch.save(create_model("rtmdet-nano", num_classes=2).state_dict(), tmp_path / "bare.pth")
    refused(CheckpointError, "'person'", "--class-names", source=tmp_path / "bare.pth", classes=["person"])
    task = task_from_checkpoint(tmp_path / "bare.pth", class_names=["car", "person"], classes=["person"])
    assert task.model.classes == ("person",)


def test_file_that_names_its_classes_twice_and_differently_is_refused(trained, tmp_path):
    config = to_dict(make_config(**{"data.classes": ["tall", "wide"]}))
    save_weights(
        tmp_path / "w.safetensors", trained.model.state_dict(), model="rtmdet-nano", classes=("wide", "tall"), config=config
    )
    refused(CheckpointError, "w.safetensors", "differently", source=tmp_path / "w.safetensors")


@pytest.mark.parametrize(("score_of", "wanted"), [(None, 0.0), ("best", 0.0), ("last", 1.0)])
def test_run_folder_stands_for_the_weights_it_was_scored_with(trained, tmp_path, score_of, wanted):
    config = to_dict(make_config())
    config["train"] |= {"score_of": score_of} if score_of else {}
    if score_of is None:  # of a run before there was such a setting
        del config["train"]["score_of"]
    tensors = trained.model.state_dict()
    for name, value in (("best", 0.0), ("last", 1.0)):
        changed = tensors | {"backbone.stem.0.bn.bias": torch.full_like(tensors["backbone.stem.0.bn.bias"], value)}
        path = tmp_path / f"{name}.safetensors"
        save_weights(path, changed, model="rtmdet-nano", classes=("wide", "tall"), config=config)
    model = task_from_checkpoint(tmp_path).model
    assert model.state_dict()["backbone.stem.0.bn.bias"][0] == wanted


def test_own_file_for_another_model_name_says_so(own):
    refused(CheckpointError, str(own), "rtmdet-nano", "rtmdet-s", source=own, model="rtmdet-s")
    assert task_from_checkpoint(own, model="rtmdet-nano").name == "detection"


def test_foreign_file_is_recognised_by_its_weights(foreign):
    task = task_from_checkpoint(foreign)
    assert task.config.model.size == "nano"
    assert task.config.data.classes == ("person",)
    assert task.config.model.num_classes == 1


def test_foreign_file_without_class_names_gets_numbers(tmp_path):
    model = create_model("rtmdet-nano", num_classes=3)
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    assert task_from_checkpoint(tmp_path / "bare.pth").config.data.classes == ("class 0", "class 1", "class 2")


def test_foreign_file_of_another_size_names_the_likely_one(foreign):
    refused(CheckpointError, str(foreign), "'nano'", source=foreign, model="rtmdet-tiny")


def test_unknown_model_name_gets_a_suggestion(foreign):
    refused(UnknownNameError, "'rtmdet-nan'", "'rtmdet-nano'", source=foreign, model="rtmdet-nan")


def test_foreign_file_of_no_published_size_asks_for_the_model(tmp_path):
    model = create_model("rtmdet-nano", num_classes=1, width=0.125)
    torch.save(model.state_dict(), tmp_path / "odd.pth")
    refused(CheckpointError, "odd.pth", "--model", source=tmp_path / "odd.pth")


def test_file_without_predictors_is_no_detector(tmp_path, foreign):
    weights = torch.load(foreign, weights_only=True)["state_dict"]
    kept = {key: value for key, value in weights.items() if "rtm_cls" not in key}
    torch.save(kept, tmp_path / "headless.pth")
    refused(CheckpointError, "headless.pth", "rtm_cls", source=tmp_path / "headless.pth")


def test_incomplete_file_is_refused(tmp_path, foreign):
    weights = torch.load(foreign, weights_only=True)["state_dict"]
    kept = {key: value for key, value in weights.items() if not key.startswith("neck")}
    torch.save(kept, tmp_path / "part.pth")
    refused(CheckpointError, "part.pth", "lacks", source=tmp_path / "part.pth")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["own", "foreign"])
def test_truncated_file_is_refused(own, foreign, tmp_path, share, kind):
    whole = {"own": own, "foreign": foreign}[kind]
    cut = tmp_path / f"cut{whole.suffix}"
    data = whole.read_bytes()
    cut.write_bytes(data[: int(len(data) * share)])
    refused(CheckpointError, str(cut), source=cut)


def test_missing_file_folder_and_unknown_name_are_told_apart(tmp_path):
    refused(CheckpointError, "gone.pth", "does not exist", source=tmp_path / "gone.pth")
    refused(CheckpointError, str(tmp_path), "folder", "best.safetensors", source=tmp_path)
    refused(UnknownNameError, "'rtmdet-tiny-coc'", "'rtmdet-tiny-coco'", source="rtmdet-tiny-coc")


@pytest.mark.parametrize("content", [b"hello", b"{}", b"\x80\x04N.", pickle.dumps([1, 2]), b"PK\x03\x04rest"], ids=range(5))
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_weight_file_is_refused(tmp_path, content, suffix):
    path = tmp_path / f"odd{suffix}"
    path.write_bytes(content)
    refused(CheckpointError, str(path), source=path)


class Hostile:
    def __reduce__(self):
        return (Path.write_text, (Path("/tmp/rtmdet_lab_hostile_marker"), "executed"))


def test_hostile_file_executes_nothing(tmp_path, foreign):
    marker = Path("/tmp/rtmdet_lab_hostile_marker")
    marker.unlink(missing_ok=True)
    weights = torch.load(foreign, weights_only=True)["state_dict"]
    torch.save({"state_dict": weights, "message_hub": Hostile()}, tmp_path / "hostile.pth")
    assert task_from_checkpoint(tmp_path / "hostile.pth").config.model.num_classes == 1
    torch.save(Hostile(), tmp_path / "worse.pth")
    refused(CheckpointError, "worse.pth", source=tmp_path / "worse.pth")
    assert not marker.exists()


@pytest.mark.parametrize(
    "config",
    [
        {"train": {"a_setting_of_a_later_version": 1}},
        {"model": {"size": "gigantic"}},
        {"model": 5},
        [1, 2],
        "text",
        5,
    ],
    ids=str,
)
def test_own_file_with_a_config_that_cannot_be_used_is_named(trained, tmp_path, config):
    path = tmp_path / "odd.safetensors"
    save_weights(path, trained.model.state_dict(), model="rtmdet-nano", classes=("a", "b"), config=config)
    refused(UserError, str(path), source=path)


@pytest.mark.parametrize("classes", ["text", 5, {"a": 1}, [1, None]], ids=str)
def test_own_file_with_odd_class_names_is_refused_or_read(trained, tmp_path, classes):
    from safetensors.torch import save_file

    path = tmp_path / "odd.safetensors"
    tensors = {key: value.detach().clone() for key, value in trained.model.state_dict().items()}
    metadata = {"model": "rtmdet-nano", "classes": json.dumps(classes), "config": json.dumps(to_dict(make_config()))}
    save_file(tensors, path, metadata)
    refused(UserError, str(path), source=path)


def test_defaults_of_a_foreign_file_are_the_published_ones(foreign):
    config = task_from_checkpoint(foreign).config
    assert config.test.nms_iou == 0.65
    assert config.test.input_size == 320  # of the published person detector


@pytest.mark.parametrize(
    ("name", "size"), [("rtmdet-nano", 640), ("rtmdet-tiny", 640), ("rtmdet-r-tiny", 1024), ("rtmdet-ins-tiny", 640)]
)
def test_foreign_file_is_used_at_the_published_size_of_its_model(tmp_path, name, size):
    torch.save(create_model(name, num_classes=2).state_dict(), tmp_path / "w.pth")
    assert task_from_checkpoint(tmp_path / "w.pth").config.test.input_size == size


def test_configuration_in_a_foreign_file_is_believed(tmp_path):
    text = """model = dict(bbox_head=dict(type='RTMDetSepBNHead', exp_on_reg=True))
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(416, 416), keep_ratio=True)]
"""
    weights = create_model("rtmdet-tiny", num_classes=2, exp_on_reg=True).state_dict()
    torch.save({"meta": {"cfg": text, "dataset_meta": {"classes": ("a", "b")}}, "state_dict": weights}, tmp_path / "w.pth")
    config = task_from_checkpoint(tmp_path / "w.pth").config
    assert config.model.exp_on_reg is True
    assert config.test.input_size == 416
