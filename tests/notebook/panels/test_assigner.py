"""The assigner explorer: pictures follow the choice, won and lost points are counted right, mistakes are told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from made_networks import settle_norms

from rtmdet_lab.assigners.factory import ASSIGNERS
from rtmdet_lab.config.overrides import to_dict, with_overrides
from rtmdet_lab.config.settings import AssignerConfig, ExperimentConfig
from rtmdet_lab.core.errors import CheckpointError, SettingError
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.data.dota import DotaDataset
from rtmdet_lab.models.checkpoints import save_weights
from rtmdet_lab.notebook.panels.assigner import AssignerExplorer, assigner_panel, moments_of
from rtmdet_lab.synthetic import generate_aerial, generate_scenes
from rtmdet_lab.tasks.factory import build_task

PUBLISHED = AssignerConfig()


def write_run(folder: Path, source, task: str = "detection", epochs=(0, 1, 2)) -> Path:
    """Weights of several moments, here of several seeds, whose outputs depend on the image."""
    settings = {
        "task": task,
        "model.width": 0.125,
        "model.depth": 0.167,
        "model.num_classes": len(source.classes),
        "model.exp_on_reg": task != "instance",
        "augment.input_size": 96,
        "data.classes": list(source.classes),
    }
    config = with_overrides(ExperimentConfig(), settings)
    folder.mkdir()
    for epoch in epochs:
        torch.manual_seed(epoch)
        built = build_task(config)
        settle_norms(built.model, torch.randn(2, 3, 96, 96))
        path = folder / f"epoch-{epoch:04d}.safetensors"
        save_weights(path, built.model.state_dict(), model="rtmdet-s", classes=source.classes, config=to_dict(config))
    return folder


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    paths = generate_scenes(tmp_path_factory.mktemp("explore") / "set", train=6, val=0, size=96, progress=False)
    return CocoDataset(paths["train_images"], paths["train_annotations"], training=True)


@pytest.fixture(scope="module")
def explorer(scenes, tmp_path_factory):
    return AssignerExplorer(moments_of(write_run(tmp_path_factory.mktemp("explore") / "run", scenes)), scenes)


@pytest.fixture(scope="module")
def crowded(explorer):
    return max(range(explorer.count), key=lambda image: len(explorer.targets(image)))


@pytest.fixture
def panel(explorer, crowded):
    return assigner_panel(explorer, image=crowded)


def test_moments_are_those_that_were_kept(explorer, tmp_path):
    assert list(explorer.moments) == ["untrained", "epoch 1", "epoch 2"]
    with pytest.raises(CheckpointError, match=r"holds no weights.*train\.keep_every"):
        moments_of(tmp_path)
    (tmp_path / "best.safetensors").touch()
    assert list(moments_of(tmp_path)) == ["best"]


@pytest.mark.slow
def test_picture_follows_every_control(panel):
    panel.refresh()
    seen = {bytes(panel.picture.value)}
    for change in (
        {"moment": "untrained"},
        {"center_cost": "none"},
        {"iou_cost": "none"},
        {"cls_cost": "none"},
        {"object": 1},
        {"kind": "simota"},
        {"kind": "atss"},
        {"against": "simota"},
        {"image": (panel.values["image"] + 1) % 6},
    ):
        panel.set(**change)
        assert "drawn in" in panel.message.value, change
        assert bytes(panel.picture.value) not in seen, change
        seen.add(bytes(panel.picture.value))


def test_matching_is_what_the_tasks_own_assigner_says(explorer, crowded):
    task = explorer.task("epoch 2")
    predictions = explorer.predictions("epoch 2", crowded)
    targets = explorer.targets(crowded)
    found = explorer.matching(PUBLISHED, "epoch 2", crowded)
    assert torch.equal(found.gt_index, task.assigner(predictions, [targets]).gt_index[0])
    summed = sum(found.maps[f"{name} cost"] for name in ("cls", "iou", "center"))
    allowed = found.maps["sum"].isfinite()
    assert torch.equal(allowed, found.candidates.expand_as(allowed))
    torch.testing.assert_close(found.maps["sum"][allowed], summed[allowed])


def test_every_known_assigner_can_be_looked_at(panel):
    for kind in ASSIGNERS:
        panel.set(kind=kind)
        assert "drawn in" in panel.message.value, kind


def test_against_itself_nothing_moves_and_otherwise_what_moves_is_counted(explorer, crowded):
    view = explorer.view(PUBLISHED, PUBLISHED, "epoch 1", crowded, 0)
    assert "won" not in view.figure.axes[-1].get_title()
    other = AssignerConfig(kind="atss")
    now, before = (explorer.matching(one, "epoch 1", crowded).gt_index for one in (other, PUBLISHED))
    won = sum(a >= 0 and a != b for a, b in zip(now.tolist(), before.tolist(), strict=True))
    lost = sum(a < 0 <= b for a, b in zip(now.tolist(), before.tolist(), strict=True))
    assert won
    assert lost
    title = explorer.view(other, PUBLISHED, "epoch 1", crowded, 0).figure.axes[-1].get_title()
    assert f"{won} won" in title
    assert f"{lost} lost" in title


def test_table_has_a_row_per_object_with_its_k(explorer, crowded):
    table = explorer.view(PUBLISHED, PUBLISHED, "epoch 1", crowded, 0).table
    targets = explorer.targets(crowded)
    assert table.count("<tr") == len(targets) + 1
    explained = explorer.explain(PUBLISHED, "epoch 1", crowded)
    name = explorer.source.classes[int(targets.labels[0])]
    row = table[table.index(f"0: {name}") :].split("</tr>")[0]
    cells = [cell.split(">")[-1] for cell in row.split("</td>")[:-1]]
    index = explained.assignment.gt_index[0]
    assert cells[1] == str(int(explained.dynamic_k[0, 0]))
    assert cells[3] == cells[4] == str(int((index == 0).sum()))
    assert cells[5:7] == ["0", "0"]


def test_network_runs_once_per_moment_and_image(explorer, panel, monkeypatch):
    panel.set(moment="epoch 1")
    monkeypatch.setattr(explorer.task("epoch 1").model, "forward", None)  # would fail if it ran again
    panel.set(center_cost="none")
    assert "drawn in" in panel.message.value


def test_other_kinds_have_no_terms_to_choose(panel):
    panel.set(kind="atss", center_cost="none")
    assert all(panel.controls[name].disabled for name in ("cls_cost", "iou_cost", "center_cost"))
    assert "drawn in" in panel.message.value
    panel.set(kind="dynamic_soft_label")
    assert not panel.controls["cls_cost"].disabled


@pytest.mark.slow
def test_objects_are_those_of_the_image(explorer, panel):
    for image in range(explorer.count):
        panel.set(image=image)
        assert len(panel.controls["object"].options) == len(explorer.targets(image))


def test_history_has_a_row_per_moment_and_a_column_per_assigner(explorer, crowded):
    figure = explorer.history(crowded, ["untrained", "epoch 2"], ["dynamic_soft_label", "simota", "atss"])
    titles = [ax.get_title() for ax in figure.axes]
    assert len(titles) == 6
    assert titles[0].startswith("untrained, dynamic_soft_label:")
    assert titles[5].startswith("epoch 2, atss:")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": 6}, "image is 6, but must be from 0 to 5"),
        ({"moment": "epoch 9"}, "moment cannot be 'epoch 9': choose one of untrained, epoch 1, epoch 2"),
        ({"assigner": {"cls_cost": "softer"}}, "choose one of soft, hard, none"),
        ({"number": 99}, "object cannot be 99"),
    ],
)
def test_impossible_beginning_is_named(explorer, options, words):
    with pytest.raises(SettingError, match=words):
        assigner_panel(explorer, **options)


def test_data_of_other_classes_are_refused(explorer, scenes, tmp_path):
    class Renamed:
        classes = ("other",)
        title = "elsewhere"

    with pytest.raises(CheckpointError, match="no class 'other'"):
        AssignerExplorer(explorer.moments, Renamed())


@pytest.mark.slow
def test_instances_and_rotated_boxes_too(scenes, tmp_path):
    paths = generate_aerial(tmp_path / "aerial", train=3, val=0, size=96, progress=False)
    aerial = DotaDataset(paths["train_images"], paths["train_labels"], training=True)
    outlined = CocoDataset(scenes.folder, scenes.file.path, training=True, outlines=True)
    for task, source in (("instance", outlined), ("rotated", aerial)):
        explorer = AssignerExplorer(moments_of(write_run(tmp_path / task, source, task, (0,))), source)
        panel = assigner_panel(explorer)
        panel.refresh()
        assert "drawn in" in panel.message.value
        panel.set(iou_cost="giou")
        if task == "rotated":
            assert "giou is defined for upright boxes" in panel.message.value
        else:
            assert "drawn in" in panel.message.value
