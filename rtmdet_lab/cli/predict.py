"""Detects objects in images, prints what was found, and draws it into a folder."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtmdet_lab.cli.common import (
    add_decoding,
    add_device,
    add_json,
    add_model_choice,
    add_speed,
    check_outputs,
    inference_settings,
    print_table,
    save_figure,
    write_result,
)
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.core.escaping import for_file_name, for_terminal, say
from rtmdet_lab.core.outputs import require_outputs

if TYPE_CHECKING:
    from rtmdet_lab.core.structures import Detections
    from rtmdet_lab.tasks.base import Task
    from rtmdet_lab.tasks.spec import TaskSpec

DRAWING, SUBMISSION = "drawing of detections", "submission"
EXAMPLES = """examples:
  rtmdet-lab predict photo.jpg --checkpoint rtmdet-tiny-coco --out found
  rtmdet-lab predict data/scenes/val --checkpoint runs/first/best.safetensors --json found.json
  rtmdet-lab predict P0001.png --checkpoint runs/turned/best.safetensors --tile 1024 --overlap 200 --json found.json
  rtmdet-lab predict DOTA/test/images --checkpoint runs/dota/best.safetensors --tile 1024 --score-threshold 0.05 \\
      --submission task1.zip"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="images, or folders of images")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="draw the detections into FOLDER")
    parser.add_argument(
        "--submission", type=Path, metavar="ZIP", help="rotated boxes: also write what the DOTA server scores (task 1)"
    )
    add_model_choice(parser)
    add_decoding(parser, score_threshold=0.3)
    add_device(parser)
    add_speed(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    from rtmdet_lab.core.structures import ImageMeta
    from rtmdet_lab.data.images import read_image
    from rtmdet_lab.engine.load import task_from_checkpoint
    from rtmdet_lab.engine.predict import prepare_inference
    from rtmdet_lab.experiment.run import choose_device
    from rtmdet_lab.models.download import public_name
    from rtmdet_lab.tasks.factory import spec_of

    check_outputs(args, (args.submission, SUBMISSION))
    task = task_from_checkpoint(
        args.checkpoint, args.model, args.classes, class_names=args.class_names, **inference_settings(args)
    )
    task.model = prepare_inference(task.model, choose_device(args.device), precision=args.precision, compiled=args.compile)
    say(f"{public_name(args.checkpoint)}, input {task.config.test.input_size}")
    spec = spec_of(task.name)
    submission = spec.submission
    if args.submission is not None and submission is None:
        raise SettingError(
            f"--submission is for rotated boxes, but {public_name(args.checkpoint)} finds others: leave it out"
        )
    paths = image_files(args.images)
    drawings = [args.out / name for name in drawing_names(paths)] if args.out else []
    require_outputs(dict.fromkeys(drawings, DRAWING), paths)
    classes = task.classes
    results: list[dict[str, Any]] = []
    submitted = []
    for number, (path, detections) in enumerate(detect_files(task, paths)):
        results.append({"image": str(path), "detections": spec.rows(detections, classes)})
        if args.submission is not None:
            submitted.append(dataclasses.replace(detections, meta=ImageMeta(path.stem)))
        if args.out:
            figure = spec.draw(read_image(path), detections, classes, score_threshold=args.score_threshold)
            save_figure(figure, drawings[number], DRAWING)
    for result in results:
        say(f"\n{for_terminal(result['image'])}: {len(result['detections'])} objects")
        print_table([_shown(row) for row in result["detections"]])
    if args.out:
        say(f"\ndrawings: {args.out}")
    if args.submission is not None and submission is not None:
        say(f"\nsubmission: {submission(submitted, classes, args.submission)}")
    write_result(args, results)


def image_files(given: Sequence[Path]) -> list[Path]:
    """Returns the named files, and those of the named folders."""
    from rtmdet_lab.data.images import local_path
    from rtmdet_lab.engine.predict import image_paths

    return [path for name in given for path in image_paths(local_path(name))]


def detect_files(task: Task, paths: Sequence[Path]) -> Iterator[tuple[Path, Detections]]:
    """Yields each image's detections with a bar meanwhile; large images come one by one, each with a bar of its tiles."""
    from tqdm import tqdm

    from rtmdet_lab.engine.predict import predict

    settings = task.config.test
    size = settings.batch_size if settings.tile is None else 1
    for start in tqdm(range(0, len(paths), size), unit="batch", disable=len(paths) <= size):
        group = paths[start : start + size]
        with tile_bar(group[0].name, settings.tile is not None) as progress:
            detections = predict(task, group, settings, progress=progress)
        yield from zip(group, detections, strict=True)


@contextmanager
def tile_bar(name: str, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Gives the function that draws how many tiles of an image are done, in a bar that goes when all are."""
    from tqdm import tqdm

    interval_s = 0.1 if sys.stderr.isatty() else 5  # a log file keeps every step
    title = for_terminal(name)
    with tqdm(desc=title, unit="tile", disable=not shown, leave=False, delay=1, mininterval=interval_s) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    box = {"box": " ".join(f"{value:.1f}" for value in row["box"])} if "box" in row else {}
    return {"class": row["class"], "score": row["score"], **box}


def drawing_names(paths: Sequence[Path]) -> list[str]:
    """Returns a file name for the drawing of each image; images of one name get numbers.

    >>> drawing_names([Path("a/1.jpg"), Path("a/2.jpg"), Path("b/1.jpg")])
    ['1.png', '2.png', '1-2.png']
    """
    seen: Counter[str] = Counter()
    names = []
    for path in paths:
        stem = for_file_name(path.stem)
        seen[stem] += 1
        names.append(f"{stem}.png" if seen[stem] == 1 else f"{stem}-{seen[stem]}.png")
    return names


def _draw(
    spec: TaskSpec, path: Path, detections: Detections, classes: tuple[str, ...], drawing: Path, score_threshold: float
) -> None:
    from rtmdet_lab.data.images import read_image

    figure = spec.draw(read_image(path), detections, classes, score_threshold=score_threshold)
    save_figure(figure, drawing, DRAWING)
