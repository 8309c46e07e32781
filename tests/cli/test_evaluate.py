"""``rtmdet-lab eval``."""

from __future__ import annotations

import json
import warnings

import matplotlib.pyplot as plt
import pytest
from made_calls import call, fails
from made_dota import SHIP, TILTED, write_dota
from made_runs import make_config, make_task
from made_sets import annotation, content, image, write_annotations, write_set

from rtmdet_lab.config.overrides import to_dict
from rtmdet_lab.evaluation.coco import METRICS
from rtmdet_lab.models.checkpoints import save_weights


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    task = make_task(**{"model.exp_on_reg": True})
    config = to_dict(make_config(**{"model.exp_on_reg": True}))
    save_weights(path, task.model.state_dict(), model="rtmdet-nano", classes=("wide", "tall"), config=config)
    return path


def arguments(weights, made, *more):
    annotations = made / "annotations" / "instances_val.json"
    options = ["--checkpoint", weights, "--images", made / "val", "--annotations", annotations, "--input-size", 64]
    return ["eval", *options, "--workers", 0, "--device", "cpu", *more]


def test_scores_detections_and_curves(capsys, made, weights, tmp_path):
    figures = plt.get_fignums()
    files = {
        name: tmp_path / f"{name}.{suffix}"
        for name, suffix in (("json", "json"), ("predictions", "json"), ("curves", "png"))
    }
    options = [part for name, path in files.items() for part in (f"--{name}", path)]
    code, out, _ = call(capsys, *arguments(weights, made, *options, "--progress", "silent"))
    assert code == 0
    result = json.loads(files["json"].read_text())
    assert set(result["bbox"]) == set(METRICS)
    assert [row["class"] for row in result["per_class"]] == ["wide", "tall"]
    assert {one["category_id"] for one in json.loads(files["predictions"].read_text())} <= {3, 7}
    assert files["curves"].read_bytes().startswith(b"\x89PNG")
    assert "4 images of a set made for a test, input 64" in out
    assert "AP75" in out
    assert "tall" in out
    assert plt.get_fignums() == figures


def test_decoding_options_reach_the_detections(capsys, made, weights, tmp_path):
    def count(*options):
        call(capsys, *arguments(weights, made, "--predictions", tmp_path / "p.json", "--progress", "silent", *options))
        return len(json.loads((tmp_path / "p.json").read_text()))

    plain = count()
    assert plain > 40
    assert count("--max-per-image", 3) == 4 * 3
    assert count("--score-threshold", 0.9) == 0
    assert count("--nms-iou", 0.05) < plain
    assert count("--max-per-level", 1) <= 4 * 3


def test_classes_of_the_weights_are_found_by_name_in_the_file(capsys, weights, tmp_path):
    folder = write_set(tmp_path / "set", train=1, val=2)
    path = folder / "annotations" / "instances_val.json"
    known = json.loads(path.read_text())
    known["categories"] = [{"id": 1, "name": "other"}, {"id": 7, "name": "tall"}, {"id": 3, "name": "wide"}]
    path.write_text(json.dumps(known))
    code, out, _ = call(capsys, *arguments(weights, folder, "--predictions", tmp_path / "p.json", "--progress", "silent"))
    assert code == 0
    assert {one["category_id"] for one in json.loads((tmp_path / "p.json").read_text())} == {3, 7}
    assert "other" not in out


def test_classes_that_only_one_side_knows_are_told_and_the_others_scored(capsys, weights, tmp_path):
    folder = write_set(tmp_path / "set", train=1, val=2)
    path = folder / "annotations" / "instances_val.json"
    write_annotations(
        path, content([image(1)], [annotation(1, 1, 2)], [{"id": 1, "name": "wide"}, {"id": 2, "name": "high"}])
    )
    with pytest.warns(UserWarning, match="scored") as told:
        code, _, _ = call(capsys, *arguments(weights, folder, "--progress", "silent"))
    assert code == 0
    lacking, unknown = sorted(str(one.message) for one in told if "scored" in str(one.message))[::-1]
    assert "lacks 1 of the 2 classes of the weights, which are not scored: 'tall'" in lacking
    assert unknown.startswith("1 objects of")
    assert "'high' (1 objects)" in unknown
    names = ("--class-names", "wide", "high")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "scored")
        assert call(capsys, *arguments(weights, folder, *names, "--progress", "silent"))[0] == 0


def test_weights_and_file_without_a_common_class_name_the_option_that_helps(capsys, weights, tmp_path):
    folder = write_set(tmp_path / "set", train=1, val=2)
    path = folder / "annotations" / "instances_val.json"
    write_annotations(path, content([image(1)], [], [{"id": 1, "name": "flat"}, {"id": 2, "name": "high"}]))
    fails(capsys, *arguments(weights, folder), words=[str(path), "wide, tall", "flat, high", "--class-names"])


def test_classes_choose_by_name_in_any_order(capsys, made, weights, tmp_path):
    def rows(*options):
        more = ("--json", tmp_path / "r.json", "--progress", "silent", *options)
        assert call(capsys, *arguments(weights, made, *more))[0] == 0
        return {row["class"]: row for row in json.loads((tmp_path / "r.json").read_text())["per_class"]}

    known = rows()
    assert rows("--classes", "tall", "wide") == known
    assert list(rows("--classes", "tall")) == ["tall"]
    assert rows("--classes", "tall")["tall"]["objects"] == known["tall"]["objects"]


def test_size_is_the_one_the_weights_were_trained_at(capsys, made, weights):
    command = arguments(weights, made, "--progress", "silent")
    del command[command.index("--input-size") : command.index("--input-size") + 2]
    code, out, _ = call(capsys, *command)
    assert code == 0
    assert "input 64" in out


def test_weights_that_are_not_finite_are_said(capsys, made, tmp_path):
    task = make_task(**{"model.exp_on_reg": True})
    task.model.bbox_head.rtm_cls[0].bias.data[0] = float("nan")
    config = to_dict(make_config(**{"model.exp_on_reg": True}))
    path = tmp_path / "w.safetensors"
    save_weights(path, task.model.state_dict(), model="rtmdet-nano", classes=("wide", "tall"), config=config)
    fails(capsys, *arguments(path, made), words=[str(path), "bbox_head.rtm_cls.0.bias", "NaN"])
    task = make_task(**{"model.exp_on_reg": True})
    task.model.state_dict()["backbone.stem.0.bn.running_var"][0] = -1.0  # finite, but its root is not
    save_weights(path, task.model.state_dict(), model="rtmdet-nano", classes=("wide", "tall"), config=config)
    fails(capsys, *arguments(path, made, "--progress", "silent"), words=["output is NaN", "image 1"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--checkpoint", "gone.pth"], ["gone.pth", "does not exist"]),
        (["--checkpoint", "rtmdet-tiny-coc"], ["rtmdet-tiny-coc", "did you mean 'rtmdet-tiny-coco'?"]),
        (["--model", "rtmdet-s"], ["rtmdet-nano", "rtmdet-s"]),
        (["--model", "rtmdet-zz"], ["rtmdet-zz"]),
        (["--class-names", "a", "b", "c"], ["2 class", "3"]),
        (["--class-names", "tall", "wide"], ["'wide'", "--classes"]),
        (["--classes", "wid"], ["'wid'", "did you mean 'wide'?"]),
        (["--images", "nowhere"], ["nowhere"]),
        (["--annotations", "nowhere.json"], ["nowhere.json", "does not exist"]),
        (["--input-size", "100"], ["input_size", "multiple of 32"]),
        (["--score-threshold", "2"], ["score_threshold"]),
        (["--nms-iou", "0"], ["nms_iou"]),
        (["--batch-size", "0"], ["batch_size"]),
        (["--workers", "-1"], ["workers"]),
        (["--tile", "33"], ["test.tile is 33", "multiple of 32"]),
        (["--tile", "64"], ["test.overlap is 200", "less than"]),
        (["--device", "cuda:99"], ["cuda"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_one_sentence(capsys, made, weights, options, words):
    fails(capsys, *arguments(weights, made, *options, "--progress", "silent"), words=words)


def test_way_out_of_a_wrong_number_of_classes_is_an_option_of_this_verb(capsys, made, weights):
    message = fails(capsys, *arguments(weights, made, "--class-names", "a", "b", "c"))
    assert "--reset-predictors" not in message


@pytest.mark.parametrize("option", ["--json", "--predictions", "--curves"])
def test_result_that_cannot_be_written_is_one_sentence(capsys, made, weights, tmp_path, option):
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "result.png"
    fails(capsys, *arguments(weights, made, option, path, "--progress", "silent"), words=[str(path)])


@pytest.mark.parametrize("option", ["--json", "--predictions", "--curves"])
def test_folder_of_a_result_is_made(capsys, made, weights, tmp_path, option):
    path = tmp_path / "deep" / "result.png"
    code, _, _ = call(capsys, *arguments(weights, made, option, path, "--progress", "silent"))
    assert code == 0
    assert path.exists()


def test_format_of_the_curves_that_cannot_be_drawn_is_one_sentence(capsys, made, weights, tmp_path):
    fails(capsys, *arguments(weights, made, "--curves", tmp_path / "pr.xyz", "--progress", "silent"), words=["pr.xyz"])


def test_json_has_no_constants_that_json_does_not_know(capsys, weights, tmp_path):
    folder = write_set(tmp_path / "set", train=1, val=2)
    path = folder / "annotations" / "instances_val.json"
    write_annotations(path, content([image(1), image(2)], []))  # no object of any class: no AP
    code, _, _ = call(capsys, *arguments(weights, folder, "--json", tmp_path / "r.json", "--progress", "silent"))
    assert code == 0
    assert "NaN" not in (tmp_path / "r.json").read_text()


def test_damaged_image_is_refused_by_name_or_skipped_with_a_note(capsys, weights, tmp_path):
    folder = write_set(tmp_path / "set", train=1, val=4)
    bad = folder / "val" / "3.png"
    bad.write_bytes(bad.read_bytes()[:80])
    fails(capsys, *arguments(weights, folder, "--progress", "plain"), words=[str(bad), "--on-bad skip"])
    code, out, _ = call(capsys, *arguments(weights, folder, "--progress", "plain", "--on-bad", "skip"))
    assert code == 0
    assert f"note: skipped: image {bad}" in out
    assert "on 4 images" not in out  # three were scored


def test_rotated_model_is_scored_on_whole_images_by_windows(capsys, tmp_path):
    settings = {"task": "rotated", "model.size": "tiny", "augment.mosaic_cache": None, "augment.mixup_cache": None}
    # What the checkpoint was validated with must not leak into this evaluation.
    config = to_dict(make_task(**settings, **{"test.tta": True}).config)
    weights = tmp_path / "best.safetensors"
    model = make_task(**settings).model
    save_weights(weights, model.state_dict(), model="rtmdet-r-tiny", classes=("ship", "plane"), config=config)
    images, labels = write_dota(tmp_path, {"a": [SHIP, TILTED], "b": [SHIP]})
    command = ["eval", "--checkpoint", weights, "--images", images, "--annotations", labels, "--device", "cpu"]
    for options, side in ((["--tile", 64, "--overlap", 16, "--tta"], 64), (["--input-size", 96], 96)):
        code, out, _ = call(capsys, *command, *options, "--json", tmp_path / "r.json", "--progress", "silent")
        assert code == 0
        assert f"on 2 images of {labels}, input {side}" in out
        scores = json.loads((tmp_path / "r.json").read_text())
        assert set(scores["rotated"]) == set(scores["rotated_area"]) == {"AP", "AP50", "AP75"}
        assert "rotated_area" in out
