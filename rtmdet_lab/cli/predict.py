"""Detects objects in images, prints what was found, and draws it into a folder."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rtmdet_lab.cli.common import (
    add_decoding,
    add_device,
    add_json,
    add_model_choice,
    add_speed,
    check_outputs,
    decoding_settings,
    print_table,
    save_figure,
    write_result,
)
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.core.escaping import for_file_name, for_terminal, say
from rtmdet_lab.core.outputs import require_outputs

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
    from tqdm import tqdm

    from rtmdet_lab.core.structures import ImageMeta
    from rtmdet_lab.data.images import local_path
    from rtmdet_lab.engine.load import task_from_checkpoint
    from rtmdet_lab.engine.predict import image_paths, predict, prepare_inference
    from rtmdet_lab.evaluation.dota import write_submission
    from rtmdet_lab.experiment.run import choose_device
    from rtmdet_lab.models.download import public_name

    check_outputs(args, (args.submission, SUBMISSION))
    settings = decoding_settings(args)
    task = task_from_checkpoint(args.checkpoint, args.model, args.classes, class_names=args.class_names, **settings)
    model = prepare_inference(task.model, choose_device(args.device), precision=args.precision, compiled=args.compile)
    classes = task.config.data.classes
    settings["input_size"] = task.config.test.input_size
    say(f"{public_name(args.checkpoint)}, input {task.config.test.input_size}")
    if args.submission is not None and task.name != "rotated":
        raise SettingError(
            f"--submission is for rotated boxes, but {public_name(args.checkpoint)} finds others: leave it out"
        )
    submitted = []
    paths = [path for given in args.images for path in image_paths(local_path(given))]
    drawings = [args.out / name for name in drawing_names(paths)] if args.out else []
    require_outputs(dict.fromkeys(drawings, DRAWING), paths)
    results: list[dict[str, Any]] = []
    size = args.batch_size if args.tile is None else 1  # large images one by one, each with a bar of its windows
    drawn = iter(drawings)
    for start in tqdm(range(0, len(paths), size), unit="batch", disable=len(paths) <= size):
        group = paths[start : start + size]
        with window_bar(group[0].name, args.tile is not None) as progress:
            detections = predict(model, group, **settings, progress=progress)
        for path, found in zip(group, detections, strict=True):
            results.append({"image": str(path), "detections": _plain(found, classes)})
            if args.submission is not None:
                submitted.append(dataclasses.replace(found, meta=ImageMeta(path.stem)))
            if args.out:
                _draw(path, found, classes, next(drawn), args.score_threshold)
    for result in results:
        say(f"\n{for_terminal(result['image'])}: {len(result['detections'])} objects")
        print_table([_shown(one) for one in result["detections"]])
    if args.out:
        say(f"\ndrawings: {args.out}")
    if args.submission is not None:
        say(f"\nsubmission: {write_submission(submitted, classes, args.submission)}")
    write_result(args, results)


@contextmanager
def window_bar(name: str, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Gives the function that draws how many windows of an image are done, in a bar that goes when all are."""
    from tqdm import tqdm

    interval_s = 0.1 if sys.stderr.isatty() else 5  # a log file keeps every step
    title = for_terminal(name)
    with tqdm(desc=title, unit="window", disable=not shown, leave=False, delay=1, mininterval=interval_s) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def _plain(found: Any, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Returns what goes into a file: boxes in pixels, masks as COCO's compressed run lengths."""
    from rtmdet_lab.geometry.masks import encode_masks

    masks = [{}] * len(found) if found.masks is None else [{"mask": one} for one in encode_masks(found.masks)]
    rows = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), masks, strict=True)
    return [{"class": classes[label], "score": score, "box": box, **mask} for label, score, box, mask in rows]


def _shown(one: dict[str, Any]) -> dict[str, Any]:
    return {"class": one["class"], "score": one["score"], "box": " ".join(f"{value:.1f}" for value in one["box"])}


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


def _draw(path: Path, found: Any, classes: tuple[str, ...], drawing: Path, score_threshold: float) -> None:
    from rtmdet_lab.data.images import read_image
    from rtmdet_lab.viz.draw import draw_detections

    save_figure(draw_detections(read_image(path), found, classes, score_threshold=score_threshold), drawing, DRAWING)
