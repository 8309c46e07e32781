"""``rtmdet-lab train``, from the first error to a resumed run."""

from __future__ import annotations

import json
import signal
import time

import pytest
import torch
from made_calls import call, fails, process, train_arguments
from made_sets import annotation, content, data_settings, image, tiny_arguments, write_annotations, write_set

from rtmdet_lab.experiment.record import read_record

SHORT = {"train.epochs": 1, "train.weak_epochs": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def first(made, tmp_path_factory):
    """Returns the folder of a finished run."""
    from rtmdet_lab.cli.main import main

    out = tmp_path_factory.mktemp("runs") / "first"
    arguments = [str(one) for one in train_arguments(made, out, **SHORT)]
    assert main([*arguments, "--progress", "silent", "--json", str(out.parent / "first.json")]) == 0
    return out


def test_run_prints_its_result_and_leaves_its_record(capsys, made, tmp_path):
    code, out, err = call(capsys, *train_arguments(made, tmp_path / "run", **SHORT), "--progress", "plain")
    assert code == 0
    assert "training rtmdet-nano on 8 images of a set made for a test" in out
    assert "epoch 1/1 (weak)" in out
    assert "weights on 4 images of a set made for a test" in out
    assert "wide" in out
    assert f"run folder: {tmp_path / 'run'}" in out
    assert "Traceback" not in err
    assert read_record(tmp_path / "run").config["train"]["epochs"] == 1


def test_json_is_the_record(first):
    assert json.loads((first.parent / "first.json").read_text()) == json.loads((first / "results.json").read_text())


def test_paths_can_be_named_one_by_one(capsys, made, tmp_path):
    paths = data_settings(made)
    options = [part for name, path in paths.items() for part in ("--" + name.removeprefix("data.").replace("_", "-"), path)]
    arguments = ["train", "--model", "rtmdet-nano", "--out", tmp_path / "run", "--progress", "silent", *options]
    settings = ["--set", *tiny_arguments(**SHORT), "train.batch_size=2"]
    code, _, _ = call(capsys, *arguments, "--classes", "tall", "--seed", 5, *settings)
    assert code == 0
    record = read_record(tmp_path / "run")
    assert record.seed == 5
    assert record.config["data"]["classes"] == ["tall"]
    assert record.config["data"]["val_images"] == paths["data.val_images"]


def test_set_can_be_given_more_than_once_and_the_last_counts(capsys, made, tmp_path):
    arguments = train_arguments(made, tmp_path / "run", **SHORT)
    code, _, _ = call(capsys, *arguments, "--set", "train.lr=0.5", "--set", "train.lr=0.25", "--progress", "silent")
    assert code == 0
    assert read_record(tmp_path / "run").config["train"]["lr"] == 0.25


def test_initial_weights_and_reset_predictors(capsys, made, first, tmp_path):
    arguments = train_arguments(made, tmp_path / "run", **SHORT, **{"train.batch_size": 2})
    weights = first / "best.safetensors"
    options = ["--init", weights, "--classes", "tall", "--progress", "silent"]
    assert call(capsys, *arguments, *options)[0] == 0  # the row of "tall" is kept, whatever its place
    again = train_arguments(made, tmp_path / "reset", **SHORT, **{"train.batch_size": 2})
    assert call(capsys, *again, *options, "--reset-predictors")[0] == 0
    fails(capsys, *arguments[:-1], "--init", tmp_path / "none.safetensors", words=["none.safetensors", "does not exist"])


def test_existing_run_is_refused_and_auto_resume_goes_on(capsys, made, first):
    arguments = train_arguments(made, first, **SHORT)
    fails(capsys, *arguments, words=[str(first), "--resume"])
    code, out, _ = call(capsys, *arguments, "--resume", "auto", "--progress", "silent")
    assert code == 0
    assert f"run folder: {first}" in out


def test_resume_with_other_settings_names_them(capsys, made, first):
    arguments = train_arguments(made, first, **SHORT, **{"train.lr": 0.5})
    fails(capsys, *arguments, "--resume", words=[str(first), "train.lr is 0.5, was 0.001"])


def test_resume_alone_knows_model_data_and_settings_and_says_that_all_is_done(capsys, first):
    before = read_record(first)
    code, out, _ = call(capsys, "train", "--out", first, "--resume", "--progress", "plain")
    assert code == 0
    assert "all 1 epochs of this run are done: a higher train.epochs extends it" in out
    after = read_record(first)
    assert (after.config, after.metrics, after.history) == (before.config, before.metrics, before.history)


@pytest.mark.slow
def test_run_is_extended_by_more_epochs_and_never_shortened(capsys, made, tmp_path):
    arguments = train_arguments(made, tmp_path / "run", **SHORT, **{"train.batch_size": 2})
    assert call(capsys, *arguments, "--progress", "silent")[0] == 0
    first = read_record(tmp_path / "run")
    longer = ["train", "--out", tmp_path / "run", "--resume", "--progress", "plain", "--set", "train.epochs=3"]
    code, out, err = call(capsys, *longer)
    assert code == 0, err
    assert "extended from 1 to 3 epochs: 1 are done and stay, the last 1 will be weak" in out
    record = read_record(tmp_path / "run")
    assert record.config["train"]["epochs"] == 3
    assert record.history[0] == first.history[0]
    assert [(one["epoch"], one["stage"]) for one in record.history] == [(0, "weak"), (1, "strong"), (2, "weak")]
    # The learning rate is that of a run of 3 epochs with 4 batches each: flat until step 6, then a cosine to 0.05.
    assert [round(one["lr"], 6) for one in record.history] == [round(first.history[0]["lr"], 6), 0.000936, 0.000114]
    fails(capsys, *longer[:-1], "train.epochs=2", words=["train.epochs is 2, was 3", "raised, not lowered"])


def test_resume_takes_given_settings_that_agree_and_refuses_others_by_name(capsys, made, first):
    resume = ["train", "--out", first, "--resume", "--progress", "silent"]
    agreeing = ["--model", "rtmdet-nano", "--data", made, "--seed", "0", "--set", "train.lr=0.001"]
    assert call(capsys, *resume, *agreeing)[0] == 0
    for given, words in [
        (["--model", "rtmdet-tiny"], "model.size is 'tiny', was 'nano'"),
        (["--seed", "3"], "seed is 3, was 0"),
        (["--set", "augment.mixup=false"], "augment.mixup is False, was True"),
        (["--classes", "wide"], "data.classes is ('wide',), was ('wide', 'tall')"),
    ]:
        fails(capsys, *resume, *given, words=[words])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "rtmdet-tny"], ["'rtmdet-tny'", "did you mean 'rtmdet-tiny'?"]),
        (["--set", "train.epoch=3"], ["'train.epoch'", "did you mean 'train.epochs'?"]),
        (["--set", "epochs=3"], ["'epochs'", "did you mean 'train.epochs'?"]),
        (["--set", "train.epochs=many"], ["'train.epochs'", "whole number", "'many'"]),
        (["--set", "train.epochs=2.5"], ["'train.epochs'", "whole number", "2.5"]),
        (["--set", "train.ema=yes"], ["'train.ema'", "bool", "'yes'"]),
        (["--set", "train.lr=NaN"], ["'train.lr'", "finite"]),
        (["--set", "train.lr=-1"], ["train.lr", "-1"]),
        (["--set", "train.lr=[1]"], ["'train.lr'", "number"]),
        (["--set", "train.optimizer=adam"], ["'train.optimizer'", "did you mean 'adamw'?"]),
        (["--set", "train.weak_epochs=9"], ["train.weak_epochs", "at most"]),
        (["--set", "augment.input_size=100"], ["augment.input_size", "multiple of 32"]),
        (["--set", "augment.resize_range=[2,1]"], ["augment.resize_range"]),
        (["--set", "data.on_bad=ignore"], ["data.on_bad", "refuse"]),
        (["--set", "train"], ["NAME=VALUE"]),
        (["--set", "train.epochs.x=1"], ["train.epochs.x"]),
        (["--set", "task=instance"], ["no segmentations", "a model without masks"]),
        (["--classes", "wide", "tal"], ["'tal'", "did you mean 'tall'?"]),
        (["--classes", "wide", "wide"], ["'wide'", "twice"]),
        (["--init", "gone.pth"], ["gone.pth", "does not exist"]),
        (["--init", "rtmdet-nano-persn"], ["rtmdet-nano-persn", "did you mean 'rtmdet-nano-person'?"]),
        (["--device", "tpu"], ["tpu", "cpu"]),
        (["--data", "nowhere"], ["nowhere", "train"]),
        (["--resume"], ["last.state", "run"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_one_sentence_before_anything_is_written(capsys, made, tmp_path, arguments, words):
    message = fails(capsys, *train_arguments(made, tmp_path / "run", **SHORT), *arguments, words=words)
    assert "  " not in message
    assert not (tmp_path / "run").exists()


def test_no_data_at_all_says_how_to_get_some(capsys, tmp_path):
    arguments = ["train", "--model", "rtmdet-nano", "--out", tmp_path / "run", "--set", *tiny_arguments(**SHORT)]
    fails(capsys, *arguments, words=["data.train_images", "data generate"])


def test_output_folder_that_is_a_file_is_one_sentence(capsys, made, tmp_path):
    (tmp_path / "file").write_text("in the way")
    fails(capsys, *train_arguments(made, tmp_path / "file", **SHORT), "--progress", "silent", words=[str(tmp_path / "file")])


@pytest.mark.parametrize("split", ["train", "val"])
def test_bad_annotation_file_is_one_sentence(capsys, tmp_path, split):
    folder = write_set(tmp_path / "set", train=4, val=2)
    path = folder / "annotations" / f"instances_{split}.json"
    path.write_text(path.read_text()[:-40])
    fails(capsys, *train_arguments(folder, tmp_path / "run", **SHORT), words=[str(path), "not valid JSON"])


@pytest.mark.parametrize("split", ["train", "val"])
def test_damaged_image_is_refused_by_name_or_skipped_with_a_note(capsys, tmp_path, split):
    folder = write_set(tmp_path / "set", train=4, val=2)
    path = folder / split / "2.png"
    path.write_bytes(path.read_bytes()[:100])
    arguments = train_arguments(folder, tmp_path / "run", **SHORT)
    fails(capsys, *arguments, "--progress", "silent", words=[str(path), "--on-bad skip"])
    code, out, _ = call(
        capsys, *train_arguments(folder, tmp_path / "other", **SHORT), "--progress", "plain", "--on-bad", "skip"
    )
    assert code == 0
    assert f"note: skipped: image {path}" in out


def test_set_without_objects_is_one_sentence(capsys, tmp_path):
    folder = write_set(tmp_path / "set", train=2, val=2)
    write_annotations(folder / "annotations" / "instances_train.json", content([image(1)], []))
    fails(capsys, *train_arguments(folder, tmp_path / "run", **SHORT), words=["instances_train.json", "no images"])


def test_loss_that_is_not_finite_is_one_sentence(capsys, made, tmp_path):
    changes = {
        "train.lr": 1e30,
        "train.epochs": 3,
        "train.weak_epochs": 3,
        "train.optimizer": "sgd",
        "train.warmup_steps": 0,
    }
    message = fails(
        capsys, *train_arguments(made, tmp_path / "run", **changes), "--progress", "silent", words=["not finite", "train.lr"]
    )
    assert "images" in message


@pytest.mark.slow
def test_objects_left_out_are_told_without_a_line_of_code(tmp_path):
    # In a process of its own: there Python shows warnings as "FILE:LINE: UserWarning: ...", followed by the source.
    folder = write_set(tmp_path / "set", train=4, val=2)
    path = folder / "annotations" / "instances_train.json"
    known = json.loads(path.read_text())
    known["annotations"].append(annotation(99, 1, bbox=(5, 5, 0, 9)))
    path.write_text(json.dumps(known))
    child = process(*train_arguments(folder, tmp_path / "run", **SHORT), "--progress", "plain")
    out, err = child.communicate(timeout=180)
    assert child.returncode == 0
    assert "1 without area" in out + err
    assert "UserWarning" not in err
    assert "warnings.warn" not in err


@pytest.mark.slow
def test_ctrl_c_saves_the_state_and_resume_finishes(capsys, made, tmp_path):
    changes = {"train.epochs": 8, "train.weak_epochs": 2, "train.workers": 1, "train.val_interval": 8}
    arguments = train_arguments(made, tmp_path / "run", **changes)
    child = process(*arguments, "--progress", "plain")
    try:
        for line in child.stdout:
            if line.startswith("epoch 2/8"):
                break
        child.send_signal(signal.SIGINT)
        begin = time.monotonic()
        out, err = child.communicate(timeout=120)
    finally:
        if child.poll() is None:
            child.kill()
    assert child.returncode == 130, err
    assert time.monotonic() - begin < 15
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    assert lines[0].startswith("rtmdet-lab train: stopped in epoch ")
    assert "--resume" in lines[0]
    state = torch.load(tmp_path / "run" / "last.state", weights_only=True)
    assert 2 <= state["epoch"] < 8
    assert not (tmp_path / "run" / "results.json").exists()

    code, out, _ = call(capsys, *arguments, "--resume", "--progress", "plain")
    assert code == 0
    assert "epoch 8/8 (weak)" in out
    assert "epoch 2/8" not in out
    assert [one["epoch"] for one in read_record(tmp_path / "run").history] == list(range(8))
