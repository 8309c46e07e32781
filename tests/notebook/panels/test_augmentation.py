"""The augmentation explorer: every task and stage step by step, and pictures that follow."""

from __future__ import annotations

import pytest
import torch

from rtmdet_lab.core.errors import SettingError, UnknownNameError
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.data.dota import DotaDataset
from rtmdet_lab.notebook.panels.augmentation import AugmentationExplorer, augmentation_panel
from rtmdet_lab.synthetic import generate_aerial, generate_scenes

torch.set_num_threads(1)
STRONG = ["Load", "Mosaic", "RandomResize", "RandomCrop", "RandomHSV", "RandomFlip", "Pad", "MixUp"]
STEPS = {
    ("detection", "strong"): STRONG,
    ("detection", "weak"): ["Load", "RandomResize", "RandomCrop", "RandomHSV", "RandomFlip", "Pad"],
    ("instance", "strong"): [*STRONG, "FillPolygons"],
    ("instance", "weak"): ["Load", "RandomResize", "RandomCrop", "RandomHSV", "RandomFlip", "Pad", "FillPolygons"],
    ("rotated", "plain"): ["Load", "Resize", "RandomFlip3", "RandomRotate", "Pad"],
    ("rotated", "strong"): [
        "Load",
        "Mosaic",
        "RandomResize",
        "RandomRotate",
        "RandomCrop",
        "RandomHSV",
        "RandomFlip3",
        "Pad",
        "MixUp",
    ],
    ("rotated", "weak"): ["Load", "RandomResize", "RandomRotate", "RandomCrop", "RandomHSV", "RandomFlip3", "Pad"],
}


@pytest.fixture(scope="module")
def explorer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explore")
    scenes = generate_scenes(folder / "scenes", train=10, val=0, size=96, progress=False)
    aerial = generate_aerial(folder / "aerial", train=24, val=0, size=128, progress=False)
    images, annotations = scenes["train_images"], scenes["train_annotations"]
    sources = {
        "detection": CocoDataset(images, annotations, training=True),
        "instance": CocoDataset(images, annotations, training=True, outlines=True),
        "rotated": DotaDataset(aerial["train_images"], aerial["train_labels"], training=True),
    }
    return AugmentationExplorer(sources, {"augment.input_size": 96})


@pytest.mark.parametrize(("task", "stage"), STEPS)
def test_steps_are_the_published_ones_one_by_one(explorer, task, stage):
    steps = explorer.steps(task, stage, 5)
    begin = max(number for number, step in enumerate(steps) if step.name == "Load")
    assert [step.name for step in steps[begin:]] == STEPS[task, stage]
    image, target = steps[-1].sample
    assert image.shape == (3, 96, 96)
    assert ("masks" in target) == (task == "instance")
    assert target["boxes"].shape[-1] == (5 if task == "rotated" else 4)
    assert set(STEPS) == {(one, name) for one in explorer.sources for name in explorer.stages(one)}


@pytest.mark.slow
def test_picture_follows_every_control(explorer):
    panel = augmentation_panel(explorer, position=6)
    panel.refresh()
    seen = {bytes(panel.picture.value)}
    for change in (
        {"step": 3},
        {"sample": 7},
        {"seed": 1},
        {"stage": "weak"},
        {"task": "instance"},
        {"step": 6},
        {"task": "rotated"},
        {"stage": "strong"},
    ):
        panel.set(**change)
        assert "drawn in" in panel.message.value, (change, panel.message.value)
        assert bytes(panel.picture.value) not in seen, change
        seen.add(bytes(panel.picture.value))


def test_controls_fit_the_task(explorer):
    panel = augmentation_panel(explorer, task="detection")
    assert panel.controls["stage"].options == ("strong", "weak")
    panel.set(task="rotated")
    assert panel.controls["stage"].options == ("plain", "strong", "weak")
    assert panel.controls["sample"].max == len(explorer.sources["rotated"]) - 1
    steps = explorer.steps("rotated", "plain", panel.values["sample"])
    assert panel.controls["step"].max == len(steps) - 1


def test_text_of_a_step_names_what_it_drew(explorer):
    panel = augmentation_panel(explorer, position=7, step=1)
    steps = explorer.steps("detection", "strong", 7)
    figure = panel.draw(**panel.values).figure
    words = " ".join(text.get_text() for ax in figure.axes for text in ax.texts)
    assert "Mosaic" in words
    assert f"partners: {', '.join(map(str, steps[1].drawn['partners']))}" in words
    assert f"{len(steps[1].cache)} of {steps[1].capacity} images" in " ".join(ax.get_title("left") for ax in figure.axes)


def test_strip_has_a_picture_per_step(explorer):
    figure = explorer.strip("instance", "strong", 7)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    steps = explorer.steps("instance", "strong", 7)
    assert [title.split(". ")[1].split(",")[0] for title in titles] == [step.name for step in steps]


def test_settings_reach_the_pipelines(explorer):
    plain = AugmentationExplorer(explorer.sources, {"augment.input_size": 96, "augment.mosaic": False, "augment.hsv": False})
    names = [step.name for step in plain.steps("detection", "strong", 3)]
    assert "Mosaic" not in names
    assert "RandomHSV" not in names
    assert "MixUp" in names


def test_setting_that_a_task_does_not_have_is_told_in_the_panel(explorer):
    sources = explorer.sources
    panel = augmentation_panel(AugmentationExplorer(sources, {"augment.input_size": 96, "augment.mosaic": False}))
    panel.refresh()
    before = panel.picture.value
    panel.set(task="rotated")  # begins with the plain recipe, which has no mosaic to switch off
    assert "augment.mosaic has no part in the plain recipe" in panel.message.value
    assert panel.picture.value == before
    panel.set(stage="strong")
    assert "drawn in" in panel.message.value


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"task": "rotate"}, UnknownNameError, "did you mean 'rotated'"),
        ({"stage": "plain"}, SettingError, "stage cannot be 'plain': choose one of strong, weak"),
    ],
)
def test_impossible_beginning_is_named(explorer, options, error, words):
    with pytest.raises(error, match=words):
        augmentation_panel(explorer, **options)


def test_unknown_stage_is_named(explorer):
    with pytest.raises(UnknownNameError, match="no stage 'plain' of the task detection"):
        explorer.stage("detection", "plain")
