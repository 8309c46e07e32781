"""Every command that README, docs, --help and the notebooks print works as printed, at a small scale.

The commands are taken from the texts themselves. Data and weights they name are stood in for by small ones of the same
names; what would take hours is made small by :data:`SMALLER`, nothing else is changed.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from made_dota import SHIP, TILTED, write_dota
from made_sets import write_set
from made_sweeps import write_experiment, write_record
from printed import printed_commands

from rtmdet_lab.cli.main import main, read_arguments
from rtmdet_lab.synthetic.class_set import generate_labelled

# What cannot run here, and why. A pattern that is found in a command names it.
NOT_RUN = {
    "--on ray": "needs a Ray cluster; tests/experiment/sweep/test_cluster.py runs one",
    "--on slurm": "needs a Slurm cluster; tests/experiment/sweep/test_cluster.py runs submitit's stand-in",
    "browse": "serves until Ctrl-C; tests/cli/test_browse.py and tests/browse open the App",
    "--processes 8": "eight processes; tests/engine/test_shared.py runs two",
    "--seeds 0 1 2(?! --dry-run)": "minutes; tests/experiment/sweep/test_real_sweep.py runs one",
    "sweep my_": "minutes; tests/experiment/sweep/test_real_sweep.py runs one",
    "notebook 00_quickstart": "tests/notebooks/test_notebooks.py runs every notebook small",
    "notebook 3": "tests/notebooks/test_notebooks.py runs every notebook small",
    "notebook 4": "tests/notebooks/test_notebooks.py runs every notebook small",
    "notebook 5": "tests/notebooks/test_notebooks.py runs every notebook small",
    "--to openvino --precision int8": "minutes of calibration; tests/export does it",
    "--precision int8 --calibration": "minutes of calibration; tests/export does it",
}
# Replacements in the printed text: published weights become those of a small run, large counts small ones.
SMALLER = [
    (r"rtmdet-nano-person|rtmdet_nano_person\.pth", "runs/people/best.safetensors"),
    (r"rtmdet-tiny-coco", "runs/first/best.safetensors"),
    (r"--train 400 --val 100( --size 256)?", "--train 6 --val 3 --size 64"),
    (r"--train 1200", "--train 6 --val 3 --size 64"),
    (r"(data generate data/few )", r"\1--train 4 --val 2 --size 64 "),
    (r"(data generate data/aerial )", r"\1--train 4 --val 2 --size 96 "),
    (r"(data generate data/scenes)$", r"\1 --train 6 --val 3 --size 64"),
    (r"train\.epochs=(\d+)", lambda match: f"train.epochs={min(int(match[1]), 20)}"),
    (r"train\.weak_epochs=\d+", "train.weak_epochs=1"),
    (r"train\.batch_size=\d+", "train.batch_size=2"),
    (r"augment\.input_size=\d+", "augment.input_size=64"),
    (r"model\.pretrained_backbone=true", "model.pretrained_backbone=false"),
    (r"--input-size \d+", "--input-size 64"),
    (r"--overlap \d+", ""),
    (r"--tile 1024", "--tile 64 --overlap 16 --input-size 64 --batch-size 2"),
]
SMALL_TRAINING = [
    "model.width=0.125",
    "model.depth=0.167",
    "augment.input_size=64",
    "train.workers=0",
    "train.val_interval=3",
]


COMMANDS = printed_commands()


def reason_not_to_run(command: str) -> str | None:
    return next((reason for part, reason in NOT_RUN.items() if re.search(part, command)), None)


def made_small(command: str) -> list[str]:
    for pattern, replacement in SMALLER:
        command = re.sub(pattern, replacement, command)
    words = shlex.split(command, comments=True)[1:]
    if words[0] == "train" and "--resume" not in words:
        words += ["--set", *SMALL_TRAINING]
    return words


def test_commands_are_found_and_every_reason_is_needed():
    assert len(COMMANDS) > 60
    assert not [part for part in NOT_RUN if not any(re.search(part, command) for command in COMMANDS)]
    assert sum(reason_not_to_run(command) is None for command in COMMANDS) > 40


@pytest.mark.parametrize("command", COMMANDS)
def test_every_printed_command_is_understood(command):
    read_arguments(shlex.split(command, comments=True)[1:])


def train(*words: str) -> None:
    settings = [*SMALL_TRAINING, "train.epochs=1", "train.batch_size=2"]
    assert main(["train", *words, "--progress", "silent", "--device", "cpu", "--set", *settings]) == 0


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder that holds, small, everything the texts name."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_set(Path("data/scenes"), train=6, val=3)
        for split in ("train", "val"):  # COCO's names, and the parts of it that the texts name in lower case
            for name in ("COCO", "coco"):
                shutil.copytree(f"data/scenes/{split}", f"{name}/{split}2017")
                source = f"data/scenes/annotations/instances_{split}.json"
                Path(f"{name}/annotations").mkdir(exist_ok=True)
                shutil.copy(source, f"{name}/annotations/instances_{split}2017.json")
                for path in (Path(source), Path(f"{name}/annotations/instances_{split}2017.json")):
                    content = json.loads(path.read_text())
                    content["categories"][0]["name"] = "person"
                    for entry in content["annotations"]:
                        x, y, width, height = entry["bbox"]
                        entry["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
                    path.write_text(json.dumps(content))
        shutil.copytree("data/scenes/val", "my/images")
        shutil.copy("data/scenes/annotations/instances_val.json", "my/annotations.json")
        shutil.copy("data/scenes/val/1.png", "photo.jpg")
        for place in ("DOTA", "DOTA/train", "DOTA/val", "DOTA/test", "data/aerial/train", "data/aerial/val"):
            write_dota(Path(place), {f"P000{number}": [SHIP, TILTED] for number in range(4)})
        for place in ("data/dota", "data/hrsc"):
            for split in ("train", "val"):
                shutil.copytree("DOTA/train", f"{place}/{split}")
        for labels in Path("data/hrsc").glob("*/labelTxt/*.txt"):
            labels.write_text(SHIP + "\n")
        shutil.copy("DOTA/images/P0001.png", "P0001.png")
        write_hrsc(Path("HRSC2016"))
        train("--model", "rtmdet-nano", "--data", "data/scenes", "--out", "runs/first")
        train("--model", "rtmdet-nano", "--data", "data/scenes", "--out", "runs/people", "--classes", "person")
        train("--model", "rtmdet-r-tiny", "--data", "data/aerial", "--out", "runs/turned")
        generate_labelled("data/labelled", 6, 3, classes=("triangle", "ring", "cross"), progress=False)
        train("--model", "cspnext-tiny", "--data", "data/labelled", "--out", "runs/labelled")
        shutil.copytree("runs/turned", "runs/dota")
        write_experiment(Path(), "narrow", "wide", name="my_experiment")
        write_experiment(Path(), "5", "7", name="my_question")
        for experiment in ("kernel_size", "soft_label_costs", "my_experiment.py"):
            write_runs(experiment)
    return folder


def write_runs(experiment: str) -> None:
    from rtmdet_lab.experiment.sweep.plan import plan

    for run in plan(experiment, "laptop", [0], Path("runs/sweeps")):
        write_record(run)


def write_hrsc(folder: Path) -> None:
    for part in ("Annotations", "ImageSets", "AllImages"):
        (folder / part).mkdir(parents=True)
    ship = "<difficult>0</difficult><mbox_cx>40</mbox_cx><mbox_cy>30</mbox_cy><mbox_w>30</mbox_w><mbox_h>10</mbox_h>"
    (folder / "Annotations" / "100000001.xml").write_text(
        "<HRSC_Image><Img_ID>100000001</Img_ID><HRSC_Objects><HRSC_Object><Class_ID>100000001</Class_ID>"
        f"{ship}<mbox_ang>0.2</mbox_ang></HRSC_Object></HRSC_Objects></HRSC_Image>"
    )
    (folder / "ImageSets" / "train.txt").write_text("100000001\n")
    shutil.copy("DOTA/images/P0001.png", folder / "AllImages" / "100000001.png")


@pytest.mark.slow
@pytest.mark.parametrize("command", [one for one in COMMANDS if reason_not_to_run(one) is None])
def test_every_printed_command_works(command, world, tmp_path, monkeypatch, capsys):
    place = tmp_path / "world"
    shutil.copytree(world, place, symlinks=True)
    monkeypatch.chdir(place)
    words = made_small(command)
    if words[0] == "train" and "--resume" not in words:  # what a command makes is not there yet
        shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
    if words[0] == "data" and words[1] != "check":
        shutil.rmtree(words[{"generate": 2, "split": 4, "hrsc": 3}[words[1]]], ignore_errors=True)
    code = main(words)
    output = capsys.readouterr()
    assert code == 0, output.err
    assert "Traceback" not in output.err
