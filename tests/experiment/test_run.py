"""A whole run on a set of a few images, and what it leaves behind."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from made_dota import SHIP, write_dota
from made_runs import Recorder, weights_of
from made_sets import (
    CATEGORIES,
    TINY,
    annotation,
    assert_one_sentence,
    content,
    data_settings,
    image,
    write_annotations,
    write_set,
)

from rtmdet_lab.config.overrides import from_dict, with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import CheckpointError, DataError, SettingError, StorageError, UnknownNameError
from rtmdet_lab.data.formats import annotations_print
from rtmdet_lab.engine.evaluate import evaluate
from rtmdet_lab.engine.load import task_from_checkpoint
from rtmdet_lab.engine.predict import predict
from rtmdet_lab.evaluation.coco import with_file_ids
from rtmdet_lab.experiment.record import read_record
from rtmdet_lab.experiment.run import (
    choose_device,
    open_data,
    open_evaluation,
    prepare,
    run,
    with_classes,
)
from rtmdet_lab.models.checkpoints import read_checkpoint
from rtmdet_lab.synthetic import generate_aerial, generate_scenes
from rtmdet_lab.tasks.factory import find_data

SHORT = {"train.epochs": 1}  # and that one weak, where there are two stages


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set"))


def config_of(folder: Path, **changes) -> ExperimentConfig:
    return with_overrides(ExperimentConfig(), TINY | data_settings(folder) | changes)


@pytest.fixture(scope="module")
def finished(made, tmp_path_factory):
    """Returns (config, folder, record) of one run."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    config = config_of(made)
    labels = {"experiment": "kernel_size", "row": "7x7", "scale": "smoke"}
    return config, folder, run(config, folder, device="cpu", reporter=Recorder(), **labels)


def test_run_leaves_weights_state_metrics_detections_and_record(finished):
    _, folder, _ = finished
    assert {path.name for path in folder.iterdir()} == {
        "last.state",
        "earlier.state",
        "last.safetensors",
        "best.safetensors",
        "metrics.jsonl",
        "tensorboard",
        "predictions.json",
        "results.json",
    }


def test_record_is_complete_and_that_on_disk(finished):
    config, folder, record = finished
    assert read_record(folder) == record
    assert record.model == "rtmdet-nano"
    assert record.seed == config.seed == 0
    prints = [record.data.pop(f"{part}_print") for part in ("train", "val")]
    assert prints == [annotations_print(getattr(config.data, f"{part}_annotations")) for part in ("train", "val")]
    assert len(set(prints)) == 2
    assert record.data == {
        "train": "a set made for a test",
        "train_images": 8,
        "val": "a set made for a test",
        "val_images": 4,
    }
    assert (record.experiment, record.row, record.scale) == ("kernel_size", "7x7", "smoke")
    assert set(record.metrics) >= {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"}
    assert [row["class"] for row in record.per_class] == ["wide", "tall"]
    assert sum(row["objects"] for row in record.per_class) == 4
    assert [one["stage"] for one in record.history] == ["strong", "weak"]
    assert record.seconds == pytest.approx(sum(one["seconds"] for one in record.history))
    assert record.environment["device"] == "cpu"
    assert record.peak_memory_mb["process"] > 50


def test_record_has_the_effective_config_with_nothing_left_to_presets(finished):
    config, _, record = finished
    assert record.config["model"]["num_classes"] == 2
    assert record.config["data"]["classes"] == ["wide", "tall"]
    assert record.config["test"]["input_size"] == 64
    assert record.config["model"]["depthwise"] is True
    assert record.config["augment"]["cache_eviction"] == "oldest"
    again = from_dict(record.config)
    assert again.train.lr == config.train.lr
    assert dataclasses.replace(again.model, num_classes=80).width == 0.125


def test_cost_in_the_record_is_that_of_the_model(finished):
    _, folder, record = finished
    tensors = read_checkpoint(folder / "last.safetensors").tensors
    weights = sum(value.numel() for key, value in tensors.items() if "running" not in key and "num_batches" not in key)
    assert record.params_M == pytest.approx(weights / 1e6)
    assert 0 < record.macs_G < 0.1


def test_metrics_are_those_of_the_best_weights(finished):
    _, _, record = finished
    assert record.metrics["AP"] == pytest.approx(max(one["metrics"]["AP"] for one in record.history), abs=1e-9)


def test_detections_have_the_ids_of_the_annotation_file(finished, made):
    _, folder, _ = finished
    found = json.loads((folder / "predictions.json").read_text())
    assert found
    assert {one["category_id"] for one in found} <= {3, 7}
    assert {one["image_id"] for one in found} <= {1, 2, 3, 4}
    from rtmdet_lab.evaluation.coco import evaluate_coco

    scores = evaluate_coco(folder / "predictions.json", made / "annotations" / "instances_val.json")
    assert scores["bbox"]["AP"] == pytest.approx(finished[2].metrics["AP"], abs=1e-6)


def test_file_ids_by_hand():
    results = [{"category_id": 1, "score": 0.5}, {"category_id": 2, "score": 0.25}]
    assert [one["category_id"] for one in with_file_ids(results, (3, 7))] == [3, 7]
    assert results[0]["category_id"] == 1  # the evaluator keeps its own


def test_finished_run_is_not_trained_again_and_refused_without_resume(finished, made):
    config, folder, record = finished
    before = (folder / "last.safetensors").stat().st_mtime_ns
    again = run(config, folder, device="cpu", resume="auto", reporter=Recorder())
    assert (folder / "last.safetensors").stat().st_mtime_ns == before
    assert again.metrics == record.metrics
    assert again.history == record.history
    with pytest.raises(StorageError) as error:
        run(config, folder, device="cpu", reporter=Recorder())
    assert_one_sentence(error.value, str(folder), "--resume")


def test_auto_resume_starts_where_there_is_no_run(made, tmp_path):
    config = config_of(made, **SHORT)
    assert len(run(config, tmp_path / "new", device="cpu", resume="auto", reporter=Recorder()).history) == 1
    with pytest.raises(CheckpointError) as error:
        run(config, tmp_path / "none", device="cpu", resume=True, reporter=Recorder())
    assert_one_sentence(error.value, "none")


@pytest.mark.parametrize("name", ["train_images", "train_annotations", "val_images", "val_annotations"])
def test_missing_path_is_named_with_the_way_out(made, tmp_path, name):
    with pytest.raises(DataError) as error:
        run(config_of(made, **{f"data.{name}": ""}), tmp_path / "run", reporter=Recorder())
    assert_one_sentence(error.value, f"data.{name}", "data generate")
    assert not (tmp_path / "run").exists()


def test_classes_of_the_data_decide_the_network(made):
    train, val = open_data(config_of(made, **{"data.classes": ["tall"]}))
    assert train.classes == val.classes == ("tall",)
    config = with_classes(ExperimentConfig(), ("a", "b", "c"))
    assert config.model.num_classes == 3
    assert config.data.classes == ("a", "b", "c")
    task, report = prepare(config_of(made), ("tall",))
    assert task.model.num_classes == 1
    assert report is None


def test_validation_classes_are_matched_by_name(tmp_path):
    write_set(tmp_path, train=4, val=2)
    # The validation file has the same classes under other ids, in another order, and one more.
    known = [{"id": 50, "name": "other"}, {"id": 9, "name": "tall"}, {"id": 4, "name": "wide"}]
    write_annotations(
        tmp_path / "annotations" / "instances_val.json",
        content([image(1), image(2)], [annotation(1, 1, 9), annotation(2, 2, 4), annotation(3, 2, 50)], known),
    )
    train, val = open_data(config_of(tmp_path))
    assert train.classes == val.classes == ("wide", "tall")
    assert [record.labels.tolist() for record in val.records] == [[1], [0]]
    assert val.category_ids == (4, 9)


def coco_pair(folder: Path, val_categories, val_annotations) -> Path:
    """Returns a set whose training file knows "wide" (3) and "tall" (7), with another validation file."""
    write_set(folder, train=8, val=2)
    path = folder / "annotations" / "instances_val.json"
    write_annotations(path, content([image(1), image(2)], val_annotations, val_categories))
    return folder


def test_class_that_only_the_training_set_has_is_told_with_its_objects_and_not_scored(tmp_path):
    folder = coco_pair(tmp_path, CATEGORIES[:1], [annotation(1, 1, 3)])
    with pytest.warns(UserWarning, match=r"lacks 1 of the 2 classes of the training set.*'tall' \(\d objects\)") as told:
        train, val = open_data(config_of(folder))
    assert f"({train.class_counts()['tall']} objects)" in str(told[0].message)
    assert "did you mean" not in str(told[0].message)
    assert val.classes == ("wide", "tall")
    assert val.category_ids == (3, None)
    assert with_file_ids([{"category_id": 1}, {"category_id": 2}], val.category_ids) == [{"category_id": 3}]


def test_class_that_only_the_validation_set_has_is_told_with_its_objects(tmp_path):
    known = [*CATEGORIES, {"id": 9, "name": "ring"}, {"id": 10, "name": "unused"}]
    folder = coco_pair(tmp_path, known, [annotation(1, 1, 3), annotation(2, 1, 9), annotation(3, 2, 9)])
    with pytest.warns(UserWarning, match=r"^2 objects of .* not scored.*training set does not know.*'ring' \(2 objects\)$"):
        open_data(config_of(folder))


def test_class_that_a_choice_leaves_out_is_not_told(tmp_path, recwarn):
    folder = coco_pair(tmp_path, CATEGORIES, [annotation(1, 1, 3), annotation(2, 1, 7)])
    open_data(config_of(folder, **{"data.classes": ["tall"]}))
    assert not [one for one in recwarn if "scored" in str(one.message)]


def test_class_misspelt_in_one_of_the_sets_is_refused_or_told(tmp_path):
    known = [CATEGORIES[0], {"id": 9, "name": "talll"}]
    folder = coco_pair(tmp_path, known, [annotation(1, 1, 3), annotation(2, 1, 9)])
    with pytest.warns(UserWarning, match="lacks"), pytest.raises(DataError) as error:
        open_data(config_of(folder))
    assert_one_sentence(error.value, "1 objects of 'talll'", "did you mean 'tall'?", "--on-bad skip")
    with pytest.warns(UserWarning, match="'talll'"):
        open_data(config_of(folder, **{"data.on_bad": "skip"}))


def test_sets_without_a_class_in_common_are_refused(tmp_path):
    folder = coco_pair(tmp_path, [{"id": 1, "name": "ring"}], [])
    with pytest.raises(DataError) as error:
        open_data(config_of(folder))
    assert_one_sentence(error.value, "none of the classes wide, tall", "ring")


def test_rotated_sets_are_compared_likewise(tmp_path):
    for split, name in (("train", "kite"), ("val", "boat")):
        write_dota(tmp_path / split, {"a": [SHIP, SHIP.replace("ship", name)]})
    places = {
        f"data.{split}_{what}": str(tmp_path / split / folder)
        for split in ("train", "val")
        for what, folder in (("images", "images"), ("annotations", "labelTxt"))
    }
    config = with_overrides(ExperimentConfig(), {"task": "rotated", "model.size": "tiny", **places})
    with pytest.warns(UserWarning, match="scored") as told:
        train, val = open_data(config)
    texts = [str(one.message) for one in told]
    assert any("lacks 1 of the 2 classes" in text and "'kite' (1 objects)" in text for text in texts), texts
    assert any(text.startswith("1 objects of") and "'boat' (1 objects)" in text for text in texts), texts
    assert val.classes == train.classes == ("kite", "ship")
    assert len(val.truth(0)) == 1


def test_unknown_class_is_named_before_anything_is_written(made, tmp_path):
    with pytest.raises(DataError) as error:
        run(config_of(made, **{"data.classes": ["wid"]}), tmp_path / "run", reporter=Recorder())
    assert_one_sentence(error.value, "'wid'", "did you mean 'wide'?")
    assert not (tmp_path / "run").exists()


def test_seed_draws_the_first_weights(made):
    first = weights_of(prepare(config_of(made), ("a",))[0].model)
    again = weights_of(prepare(config_of(made), ("a",))[0].model)
    other = weights_of(prepare(config_of(made, seed=1), ("a",))[0].model)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_initial_weights_are_loaded_whole(finished, made):
    _, folder, _ = finished
    config = config_of(made, **{"train.init_weights": str(folder / "best.safetensors")})
    task, report = prepare(config, ("wide", "tall"))
    wanted = read_checkpoint(folder / "best.safetensors").tensors
    own = task.model.state_dict()
    assert all(torch.equal(own[key], wanted[key]) for key in own)
    assert report.missing == []


def test_initial_weights_for_other_classes_offer_to_keep_all_but_the_predictors(finished, made):
    _, folder, _ = finished
    settings = {"train.init_weights": str(folder / "best.safetensors")}
    with pytest.raises(CheckpointError) as error:
        prepare(config_of(made, **settings), ("a", "b", "c"))
    assert_one_sentence(error.value, "'a', 'b', 'c'", "'wide', 'tall'", "--reset-predictors")
    task, report = prepare(config_of(made, **settings, **{"train.reset_predictors": True}), ("a", "b", "c"))
    assert report.skipped
    assert all("rtm_cls" in key for key in report.skipped)
    wanted = read_checkpoint(folder / "best.safetensors").tensors
    own = task.model.state_dict()
    assert all(torch.equal(own[key], wanted[key]) for key in own if key not in report.skipped)


def test_class_rows_of_initial_weights_go_by_name_and_new_classes_start_untrained(finished, made):
    _, folder, _ = finished
    config = config_of(made, **{"train.init_weights": str(folder / "best.safetensors")})
    fresh = weights_of(prepare(config_of(made), ("new", "tall"))[0].model)
    task, report = prepare(config, ("new", "tall"))
    wanted, key = read_checkpoint(folder / "best.safetensors").tensors, "bbox_head.rtm_cls.1.weight"
    row = task.model.state_dict()[key]
    assert torch.equal(row[1], wanted[key][1])
    assert torch.equal(row[0], fresh[key][0])
    (note,) = report.notes
    assert "1 of 2 are used, 1 new one(s) start untrained ('new')" in note


def test_what_initial_weights_were_matched_to_is_told_before_the_training(finished, made, tmp_path):
    _, folder, _ = finished
    reporter = Recorder()
    settings = {"train.init_weights": str(folder / "best.safetensors"), "data.classes": ["tall", "wide"]}
    run(config_of(made, **SHORT, **settings), tmp_path / "second", device="cpu", reporter=reporter)
    assert any("order of 'tall', 'wide', by name" in note for note in reporter.notes)


def test_initial_weights_that_decode_otherwise_are_refused_before_anything_is_written(finished, made, tmp_path):
    _, folder, _ = finished
    settings = {"train.init_weights": str(folder / "best.safetensors"), "model.exp_on_reg": True}
    with pytest.raises(CheckpointError) as error:
        run(config_of(made, **settings), tmp_path / "run", reporter=Recorder())
    assert_one_sentence(error.value, "model.exp_on_reg false", "model.exp_on_reg true", "set model.exp_on_reg=false")
    assert not (tmp_path / "run").exists()


def test_run_is_not_resumed_with_classes_in_another_order(made, tmp_path):
    settings = SHORT | {"data.classes": ["wide", "tall"]}
    run(config_of(made, **settings), tmp_path / "run", device="cpu", reporter=Recorder())
    config = config_of(made, **settings | {"data.classes": ["tall", "wide"]})
    with pytest.raises(CheckpointError) as error:
        run(config, tmp_path / "run", device="cpu", resume=True, reporter=Recorder())
    assert_one_sentence(error.value, "data.classes", "('tall', 'wide')", "('wide', 'tall')")


@pytest.mark.parametrize(
    ("weights", "kind", "words"),
    [
        ("gone.pth", CheckpointError, "gone.pth"),
        ("rtmdet-tiny-coc", UnknownNameError, "rtmdet-tiny-coco"),
    ],
)
def test_initial_weights_that_are_not_there_are_named_before_anything_is_written(made, tmp_path, weights, kind, words):
    with pytest.raises(kind) as error:
        run(config_of(made, **{"train.init_weights": weights}), tmp_path / "run", reporter=Recorder())
    assert_one_sentence(error.value, words)
    assert not (tmp_path / "run").exists()


def test_run_from_initial_weights_trains_on(finished, made, tmp_path):
    _, folder, _ = finished
    config = config_of(made, **SHORT, **{"train.init_weights": str(folder / "best.safetensors")})
    record = run(config, tmp_path / "second", device="cpu", reporter=Recorder())
    assert record.config["train"]["init_weights"].endswith("best.safetensors")


def test_one_class_of_two_can_be_trained_and_scored(made, tmp_path):
    config = config_of(made, **SHORT, **{"data.classes": ["tall"], "train.batch_size": 2})
    record = run(config, tmp_path / "run", device="cpu", reporter=Recorder())
    assert [row["class"] for row in record.per_class] == ["tall"]
    found = json.loads((tmp_path / "run" / "predictions.json").read_text())
    assert {one["category_id"] for one in found} <= {7}


def test_validation_set_without_objects_gets_a_record_that_is_json(tmp_path):
    write_set(tmp_path, train=4, val=2)
    write_annotations(tmp_path / "annotations" / "instances_val.json", content([image(1), image(2)], []))
    record = run(config_of(tmp_path, **SHORT), tmp_path / "run", device="cpu", reporter=Recorder())
    assert record.metrics["AP"] == -1
    text = (tmp_path / "run" / "results.json").read_text()
    assert "NaN" not in text


def test_misspelt_label_is_refused_before_the_training(made, tmp_path):
    with pytest.raises(TypeError, match="rwo"):
        run(config_of(made, **SHORT), tmp_path / "run", device="cpu", reporter=Recorder(), rwo="7x7")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["tpu", "gpu", "", "cuda:x"])
def test_unknown_device_names_the_known_ones(name):
    with pytest.raises(SettingError) as error:
        choose_device(name)
    assert_one_sentence(error.value, repr(name), "cpu", "cuda")


def test_device_is_the_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device().type == "cpu"
    with pytest.raises(SettingError) as error:
        choose_device("cuda")
    assert_one_sentence(error.value, "no usable GPU")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device().type == "cuda"
    assert choose_device("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["hpu", "meta"])
def test_device_that_torch_knows_and_this_library_does_not_is_refused(name):
    with pytest.raises(SettingError) as error:
        choose_device(name)
    assert_one_sentence(error.value, repr(name))


@pytest.mark.parametrize("task", [pytest.param("instance", marks=pytest.mark.slow), "rotated"])
def test_other_tasks_run_from_generated_data_to_a_record_and_back(task, tmp_path):
    if task == "instance":
        generate_scenes(tmp_path / "data", train=6, val=3, size=64, progress=False)
    else:
        generate_aerial(tmp_path / "data", train=6, val=3, size=96, progress=False)
    settings = {name: value for name, value in TINY.items() if not (task == "rotated" and "cache" in name)}
    settings |= {"task": task, "model.size": "tiny", "data.repeat": 4, **SHORT, **find_data(tmp_path / "data", task)}
    config = with_overrides(ExperimentConfig(), settings)
    record = run(config, tmp_path / "run", device="cpu", reporter=Recorder())
    assert record.model == {"instance": "rtmdet-ins-tiny", "rotated": "rtmdet-r-tiny"}[task]
    assert "AP50" in record.metrics
    trained = task_from_checkpoint(tmp_path / "run" / "best.safetensors")
    assert trained.name == task
    source = open_evaluation(trained, config.data.val_images, config.data.val_annotations)
    scores = evaluate(trained, source).scores()
    assert set(scores) == {"instance": {"bbox", "segm"}, "rotated": {"rotated", "rotated_area"}}[task]
    for name, value in scores["segm" if task == "instance" else "rotated"].items():
        assert value == pytest.approx(record.metrics[name], abs=1e-6)
    image, _ = source.load(0)
    (found,) = predict(trained.model, image, input_size=64, score_threshold=0.0)
    assert found.boxes.shape[1] == (5 if task == "rotated" else 4)
    assert (found.masks is not None) == (task == "instance")
