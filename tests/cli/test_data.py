"""``rtmdet-lab data``."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from made_calls import call, fails
from made_dota import SHIP, write_dota
from made_sets import annotation, assert_one_sentence, content, image, write_annotations, write_set

from rtmdet_lab.cli.main import read_arguments


@pytest.fixture
def made(tmp_path):
    return write_set(tmp_path / "set", train=6, val=2)


def check(capsys, made, *arguments):
    path = made / "annotations" / "instances_train.json"
    return call(capsys, "data", "check", made / "train", path, "--workers", 1, *arguments)


def test_sound_set_is_code_0(capsys, made, tmp_path):
    code, out, _ = check(capsys, made, "--json", tmp_path / "report.json")
    assert code == 0
    assert "6 images, 6 objects, 2 classes" in out
    assert "no problems found" in out
    assert json.loads((tmp_path / "report.json").read_text())["problems"] == []


def test_damaged_image_is_listed_and_code_1(capsys, made, tmp_path):
    (made / "train" / "3.png").write_bytes((made / "train" / "3.png").read_bytes()[:100])
    (made / "train" / "5.png").unlink()
    code, out, _ = check(capsys, made, "--json", tmp_path / "report.json")
    assert code == 1
    bad = [line for line in out.splitlines() if line.startswith("bad: ")]
    assert len(bad) == 2
    assert str(made / "train" / "3.png") in bad[0]
    assert str(made / "train" / "5.png") in bad[1]
    assert "2 problems" in out
    assert "--on-bad skip" in out
    assert len(json.loads((tmp_path / "report.json").read_text())["problems"]) == 2


def test_malformed_annotation_is_listed_and_odd_ones_are_counted(capsys, made):
    entries = [annotation(1, 1), annotation(2, 99), annotation(3, 1, bbox=(5, 5, 0, 5))]
    write_annotations(made / "annotations" / "instances_train.json", content([image(1)], entries))
    code, out, _ = check(capsys, made)
    assert code == 1
    assert "annotation 2 belongs to image 99" in out
    assert "1 objects without area" in out
    assert "1 problems" not in out  # one problem is "1 problem"


@pytest.mark.parametrize(
    ("text", "words"), [("{", "not valid JSON"), ("[]", "COCO"), ("{}", "'images'"), (None, "does not exist")], ids=str
)
def test_unusable_annotation_file_is_one_sentence_and_code_2(capsys, made, text, words):
    path = made / "annotations" / "instances_train.json"
    path.unlink() if text is None else path.write_text(text)
    fails(capsys, "data", "check", made / "train", path, words=[str(path), words])


def test_missing_image_folder_is_one_sentence_and_code_2(capsys, made):
    fails(capsys, "data", "check", made / "nowhere", made / "annotations" / "instances_train.json", words=["nowhere"])


def test_set_is_generated_and_found_sound(capsys, tmp_path):
    folder = tmp_path / "scenes"
    code, out, _ = call(
        capsys, "data", "generate", folder, "--train", 3, "--val", 2, "--size", 96, "--json", tmp_path / "paths.json"
    )
    assert code == 0
    paths = json.loads((tmp_path / "paths.json").read_text())
    assert set(paths) == {"train_images", "train_annotations", "val_images", "val_annotations"}
    assert all(path in out for path in paths.values())
    code, out, _ = call(capsys, "data", "check", paths["train_images"], paths["train_annotations"], "--workers", 1)
    assert code == 0
    assert out.startswith("3 images")


def test_aerial_set_is_checked_cut_and_found_sound(capsys, tmp_path):
    images, labels = write_dota(tmp_path / "set", {"a": [SHIP], "b": ["10 10 30 20 30 10 10 20 ship 1"]})
    code, out, _ = call(capsys, "data", "check", images, labels, "--workers", 1)
    assert code == 0
    assert out.startswith("2 images, 2 objects, 15 classes")
    assert "1 objects whose corners cross" in out
    cut = ["--patch", 64, "--overlap", 16, "--workers", 1]
    code, out, _ = call(capsys, "data", "split", images, labels, tmp_path / "out", *cut, "--json", tmp_path / "r.json")
    assert code == 0
    assert "2 images, 8 windows, 2 objects of which 1 are difficult or cut" in out
    assert str(tmp_path / "out" / "labelTxt") in out
    assert json.loads((tmp_path / "r.json").read_text())["windows"] == 8
    code, out, _ = call(capsys, "data", "check", tmp_path / "out" / "images", tmp_path / "out" / "labelTxt", "--workers", 1)
    assert code == 0
    assert call(capsys, "data", "split", images, "-", tmp_path / "bare", *cut, "--scales", "1,0.5", "--no-pad")[0] == 0
    assert not (tmp_path / "bare" / "labelTxt").exists()


def test_damaged_label_line_is_one_sentence_and_code_2(capsys, tmp_path):
    images, labels = write_dota(tmp_path / "set", {"a": [SHIP, "1 2 3 ship"]})
    code, out, _ = call(capsys, "data", "check", images, labels, "--workers", 1)
    assert code == 1
    assert f"bad: label file {labels / 'a.txt'}, line 2: " in out
    code, out, _ = call(capsys, "data", "check", images, labels, "--workers", 1, "--classes", "raft, boat")
    assert code == 1
    assert "class 'ship' is not among the classes" in out
    code, _, err = call(capsys, "data", "split", images, labels, tmp_path / "out", "--workers", 1)
    assert code == 2
    assert_one_sentence(err.strip().splitlines()[-1], "rtmdet-lab data: ", str(labels / "a.txt"), "line 2")
    fails(capsys, "data", "split", images, labels, tmp_path / "new", "--scales", "half", words=["--scales", "half"])


@pytest.mark.parametrize("action", ["generate", "check", "split", "hrsc"])
def test_help_of_an_action_has_its_examples_and_they_are_valid(action, capsys):
    with pytest.raises(SystemExit):
        read_arguments(["data", action, "--help"])
    shown = re.sub(r"\\\n *", "", capsys.readouterr().out.split("examples:\n")[1])
    examples = [line.strip() for line in shown.splitlines() if line.startswith("  ")]
    assert examples
    for example in examples:
        assert read_arguments(shlex.split(example)[1:]).action == action
