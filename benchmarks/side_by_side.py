"""Ours against the published implementation, in turns on the same inputs, and both as a share of what the machine can do.

    bash setup-of-the-reference REFERENCE            # a virtual environment with MMDetection 3 and MMRotate 1
    python benchmarks/side_by_side.py --reference REFERENCE --data COCO
    python benchmarks/side_by_side.py --reference REFERENCE --data COCO --lines "train tiny 8x320" --turns 15
    python benchmarks/side_by_side.py --data COCO    # ours alone

Each line of the table is a case: both sides load it in a process of their own, run it once (what they computed is compared),
once more to warm up, and then in turns, so that whatever else the machine does slows both. The ratio is the median of the
ratios of neighbouring turns. Only ratios of one run mean anything on a shared machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SIDES = Path(__file__).parent / "sides"


@dataclass(frozen=True)
class Line:
    """One line of the table: what is run, and the ratio it is meant to reach."""

    target: float
    kind: str
    case: dict[str, Any]


def _train(model: str, batch: int, size: int, amp: str = "off") -> Line:
    case = {"model": model, "batch": batch, "size": size, "classes": 15 if "-r-" in model else 80, "amp": amp}
    return Line(1.5, "train", case)


def _assign(target: float, objects: int, rotated: bool = False) -> Line:
    case = {"objects": objects, "rotated": rotated, "images": 4 if rotated else 16}
    return Line(target, "assign", case | ({"size": 1024, "classes": 15} if rotated else {"size": 640, "classes": 80}))


def _infer(target: float, model: str, candidates: int = 3000, threshold: float = 0.001, way: str = "prepared") -> Line:
    found = {"candidates": candidates, "threshold": threshold}
    return Line(target, "infer", {"model": model, "size": 640, "classes": 80, "way": way, **found})


LINES = {
    "train tiny 8x320": _train("rtmdet-tiny", 8, 320),
    "train tiny 4x640": _train("rtmdet-tiny", 4, 640),
    "train ins-tiny 4x320": _train("rtmdet-ins-tiny", 4, 320),
    "train r-tiny 4x512": _train("rtmdet-r-tiny", 4, 512),
    # Ours in mixed precision; theirs stays in float32, it has no other on a CPU.
    "train tiny 8x320 bf16": _train("rtmdet-tiny", 8, 320, "bf16"),
    "train tiny 4x640 bf16": _train("rtmdet-tiny", 4, 640, "bf16"),
    "train ins-tiny 4x320 bf16": _train("rtmdet-ins-tiny", 4, 320, "bf16"),
    "train r-tiny 4x512 bf16": _train("rtmdet-r-tiny", 4, 512, "bf16"),
    "assign 5": _assign(3, 5),
    "assign 20": _assign(15, 20),
    "assign 100": _assign(60, 100),
    "assign rotated 20": _assign(5, 20, rotated=True),
    "assign rotated 200": _assign(5, 200, rotated=True),
    "pipeline tiny": Line(3, "pipeline", {"model": "rtmdet-tiny", "images": 80}),
    "pipeline s": Line(3, "pipeline", {"model": "rtmdet-s", "images": 80}),
    "pipeline ins-tiny": Line(4, "pipeline", {"model": "rtmdet-ins-tiny", "images": 80}),
    "infer tiny": _infer(1.6, "rtmdet-tiny"),
    "infer s": _infer(1.4, "rtmdet-s"),
    "infer m": _infer(1.2, "rtmdet-m"),
    "infer tiny compiled": _infer(1.6, "rtmdet-tiny", way="compiled"),  # torch.compile on our side
    "infer s compiled": _infer(1.4, "rtmdet-s", way="compiled"),
    "infer m compiled": _infer(1.2, "rtmdet-m", way="compiled"),
    "infer tiny exported": _infer(1.6, "rtmdet-tiny", way="exported"),  # our side in ONNX Runtime
    "infer s exported": _infer(1.4, "rtmdet-s", way="exported"),
    "infer m exported": _infer(1.2, "rtmdet-m", way="exported"),
    "infer ins-tiny": _infer(2, "rtmdet-ins-tiny", 100, 0.05),
    "rotated IoU 2000x2000": Line(5, "rotated_iou", {"boxes": 2000}),
    **{
        f"rotated NMS {boxes} at {threshold}": Line(5, "rotated_nms", {"boxes": boxes, "threshold": threshold})
        for boxes in (2000, 10000)
        for threshold in (0.1, 0.5)
    },
}


class Side:
    """A process that runs one side of a case and answers with seconds."""

    def __init__(self, python: str, script: str, folder: Path, threads: int) -> None:
        self.name = script.removesuffix(".py")
        self.result = folder / f"{self.name}.npz"
        self.log = folder / f"{self.name}.log"
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [python, str(SIDES / script), str(folder), str(self.result)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )
        self.peak_mb = self.answer()["peak_mb"]

    def answer(self) -> dict[str, float]:
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise SystemExit(f"the side {self.name!r} failed:\n{self.log.read_text()[-2000:]}")
        return json.loads(line)

    def turn(self) -> float:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()["seconds"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def measure(name: str, line: Line, args: argparse.Namespace) -> dict[str, Any]:
    """Returns a row of the table: milliseconds of both sides, their ratio, and how far their results are apart."""
    from sides.workloads import prepare

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare({"kind": line.kind, **line.case}, args.data, folder, args.seed)
        sides = {"own": Side(sys.executable, "own.py", folder, args.threads)}
        if args.reference is not None:
            sides["published"] = Side(str(args.reference / "bin/python"), "published.py", folder, args.threads)
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        begin = time.monotonic()
        while len(seconds["own"]) <= args.turns:
            # Whoever goes second finds warmer or hotter hardware: the order changes with every turn.
            order = list(sides)[:: -1 if len(seconds["own"]) % 2 else 1]
            for side in order:
                seconds[side].append(sides[side].turn())
            enough = len(seconds["own"]) > 3 and time.monotonic() - begin > args.seconds
            if enough:
                break
        for side in sides.values():
            side.close()
        row: dict[str, Any] = {"line": name}
        for side, values in seconds.items():
            row[f"{side} ms"] = round(1e3 * statistics.median(values[1:]), 1)
        if "published" in sides:
            ratios = [slow / fast for slow, fast in zip(seconds["published"][1:], seconds["own"][1:], strict=True)]
            row |= {"ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
            row |= {"target": line.target, "turns": len(ratios)}
            row["difference"] = difference(line.kind, *(dict(np.load(side.result)) for side in sides.values()))
            row |= {f"{side} MB": round(one.peak_mb) for side, one in sides.items()}
        return row


def difference(kind: str, own: dict[str, np.ndarray], published: dict[str, np.ndarray]) -> str:
    """Returns in words how far apart the results of the two sides are."""
    if kind == "train":
        common = sorted(own.keys() & published.keys())
        pairs = [(float(own[name]), float(published[name])) for name in common]
        return "losses " + ", ".join(
            f"{name[5:]} {abs(one - other) / abs(other):.0e}" for name, (one, other) in zip(common, pairs, strict=False)
        )
    if kind == "assign":
        return f"{int((own['gt_index'] != published['gt_index']).sum())} of {own['gt_index'].size} points"
    if kind == "infer":
        if len(own["boxes"]) != len(published["boxes"]):
            return f"{len(own['boxes'])} and {len(published['boxes'])} detections"
        found = f"{len(own['boxes'])} detections, scores within {np.abs(own['scores'] - published['scores']).max():.0e}"
        if "masks" in own:
            found += f", {(own['masks'] == published['masks']).mean():.4%} of mask pixels equal"
        return found
    if kind == "rotated_iou":
        return f"within {np.abs(own['iou'] - published['iou']).max():.0e}"
    if kind == "rotated_nms":
        return f"{len(np.setxor1d(own['kept'], published['kept']))} of {len(own['kept'])} kept"
    return ""


def machine(data: Path, threads: int) -> list[dict[str, Any]]:
    """Returns what the machine reaches in this run: arithmetic, memory, JPEG decoding."""
    import cv2
    import torch

    from rtmdet_lab.data.layout import find_coco

    torch.set_num_threads(threads)
    cv2.setNumThreads(0)
    matrix, image = torch.randn(2048, 2048), torch.randn(1, 96, 80, 80).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(96, 96, 3, 3).contiguous(memory_format=torch.channels_last)
    block = torch.randn(32 * 2**20)
    other = torch.empty_like(block)
    files = [path.read_bytes() for path in sorted(Path(find_coco(data)["data.train_images"]).glob("*.jpg"))[:40]]
    buffers = [np.frombuffer(content, np.uint8) for content in files]
    cases = {
        "matrix product 2048, GFLOP/s": (lambda: matrix @ matrix, 2 * 2048**3 / 1e9),
        "3x3 convolution, 96 channels of 80x80, GFLOP/s": (
            lambda: torch.conv2d(image, weight, padding=1),
            2 * 96 * 96 * 9 * 6400 / 1e9,
        ),
        "memory copy, GB/s": (lambda: other.copy_(block), 2 * 4 * block.numel() / 1e9),
        "JPEG decoding in one thread, images/s": (lambda: [cv2.imdecode(one, 1) for one in buffers], len(buffers)),
    }
    rows = []
    for name, (run, work) in cases.items():
        speeds = []
        for number in range(9):
            begin = time.perf_counter()
            run()
            if number > 1:
                speeds.append(work / (time.perf_counter() - begin))
        rows.append({"limit": name, "median": statistics.median(speeds), "highest": max(speeds)})
    return rows


def main() -> None:
    from rtmdet_lab.cli.common import add_json, print_table, write_result

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="a COCO-style set with masks")
    parser.add_argument(
        "--reference", type=Path, metavar="FOLDER", help="virtual environment of the published implementation"
    )
    parser.add_argument("--lines", nargs="+", default=list(LINES), metavar="LINE", help="some of: " + "; ".join(LINES))
    parser.add_argument("--turns", type=int, default=11, help="of each side (11)")
    parser.add_argument("--seconds", type=float, default=60, help="stop a line after so long, but not before 3 turns (60)")
    parser.add_argument("--threads", type=int, default=2, help="of each side (2)")
    parser.add_argument("--seed", type=int, default=0)
    add_json(parser)
    args = parser.parse_args()
    if unknown := set(args.lines) - set(LINES):
        parser.error(f"no line {sorted(unknown)[0]!r}: one of {'; '.join(LINES)}")
    limits = machine(args.data, args.threads)
    print_table(limits)
    rows = []
    for name in args.lines:
        rows.append(measure(name, LINES[name], args))
        print_table(rows[-1:])
        write_result(args, {"threads": args.threads, "seed": args.seed, "limits": limits, "rows": rows})
    print_table(rows)


if __name__ == "__main__":
    main()
