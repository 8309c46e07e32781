"""Windows and average precision against those recorded from the published implementation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rtmdet_lab.core.structures import Detections, Targets
from rtmdet_lab.data.dota import DotaDataset
from rtmdet_lab.data.label_file import read_label_file
from rtmdet_lab.data.tile_split import split_dota
from rtmdet_lab.data.tiles import merge_windows
from rtmdet_lab.evaluation.dota import DotaEvaluator, evaluate_dota

FIXTURES = Path(__file__).parents[1] / "fixtures"
IMAGES, CLASSES = 8, 4


@pytest.fixture(scope="module")
def recorded():
    with np.load(FIXTURES / "dota_map_seed0.npz") as file:
        return {name: np.asarray(file[name]) for name in file.files}


def images(recorded):
    detections, targets = [], []
    for image in range(IMAGES):
        rows = [recorded[f"det.{image}.{label}"].reshape(-1, 6) for label in range(CLASSES)]
        labels = np.repeat(np.arange(CLASSES), [len(one) for one in rows])
        found = torch.from_numpy(np.concatenate(rows))
        detections.append(Detections(found[:, :5], found[:, 5], torch.from_numpy(labels)))
        kinds = ("", "_ignore")
        boxes = np.concatenate([recorded[f"bboxes{kind}.{image}"] for kind in kinds])
        names = np.concatenate([recorded[f"labels{kind}.{image}"] for kind in kinds])
        ignore = np.arange(len(boxes)) >= len(recorded[f"bboxes.{image}"])
        targets.append(Targets(*(torch.from_numpy(one) for one in (boxes, names)), ignore=torch.from_numpy(ignore)))
    return detections, targets


@pytest.mark.parametrize("use_07_metric", [True, False])
@pytest.mark.parametrize("threshold", [0.5, 0.75])
def test_average_precision_is_the_same(recorded, threshold, use_07_metric):
    result = evaluate_dota(*images(recorded), CLASSES, threshold, use_07_metric)
    key = f"{threshold}_voc07_{use_07_metric}"
    assert result["AP"] == pytest.approx(recorded[f"ap_{key}"].tolist(), abs=1e-4)
    assert result["mAP"] == pytest.approx(float(recorded[f"map_{key}"]), abs=1e-4)


def test_all_recorded_numbers_are_checked(recorded):
    assert {name for name in recorded if name.startswith("map_")} == {
        f"map_{threshold}_voc07_{metric}" for threshold in (0.5, 0.75) for metric in (True, False)
    }


@pytest.fixture
def whole(real_data):
    folder = real_data / "dota-sample"
    return folder / "images", folder / "labelTxt"


def test_windows_of_real_images_are_the_same(whole, tmp_path):
    result = split_dota(*whole, tmp_path / "out", patch=512, overlap=128, progress=False, pad=False)
    wanted = json.loads((FIXTURES / "dota_split_512_128.json").read_text())
    files = {path.stem: read_label_file(path) for path in result["labels"].iterdir()}
    found = {
        name: {"objects": len(file.names), "difficult": int(file.difficult.sum()), "sum_x1": file.quads[:, 0].sum()}
        for name, file in files.items()
    }
    assert found == wanted
    assert result["windows"] == len(wanted)


@pytest.mark.parametrize("settings", [{"patch": 768, "overlap": 512}, {"patch": 640, "overlap": 320, "scales": (0.5, 1.5)}])
def test_real_objects_survive_cutting_and_merging(whole, tmp_path, settings):
    # The harbors are 600 pixels long: windows of 512 would keep none of them.
    result = split_dota(*whole, tmp_path / "out", **settings, progress=False)
    source = DotaDataset(*whole)
    targets = []
    for index in range(len(source)):
        target = source.load(index)[1]
        targets.append(Targets(target["boxes"], target["labels"], ignore=target["ignore"], meta=target["meta"]))
    windows = DotaDataset(result["images"], result["labels"], source.classes)
    detections = []
    for index in range(len(windows)):
        target = windows.load(index)[1]
        scores = torch.where(target["ignore"], 0.5, 0.9)  # one that is cut yields to the same one whole
        detections.append(Detections(target["boxes"], scores, target["labels"], meta=target["meta"]))
    # Neighbours in a harbor overlap by more than the published 0.1: at 0.5 only doubles go.
    merged = merge_windows(detections, [one.meta for one in targets], settings["patch"], iou_threshold=0.5)
    result = evaluate_dota(merged, targets, len(source.classes))
    assert result["mAP"] == 1.0
    assert {source.classes[label] for label, ap in enumerate(result["AP"]) if ap == ap} >= {
        "ship",
        "harbor",
        "large-vehicle",
    }
    evaluator = DotaEvaluator(source.classes)
    evaluator.add(merged, targets)
    assert evaluator.summary()["AP50"] == 1.0
    assert evaluator.summary()["AP"] > 0.99
