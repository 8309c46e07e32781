"""Memory and time of predicting one large aerial image by windows.

    python benchmarks/large_image.py
    python benchmarks/large_image.py --side 4000 --suffix .png --batch-size 8

Draws a scene into a file in a process of its own, and predicts on it in another, on one thread. Peaks are those since that
process began: the last one is what a machine needs. The network has random weights; with the default threshold of 0 every
point is a candidate and a window keeps a thousand boxes and more, far beyond what a trained network finds.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rtmdet_lab.cli.common import add_json, print_table, write_result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=12000, metavar="PIXELS", help="of the image (12000)")
    parser.add_argument("--suffix", choices=(".jpg", ".png"), default=".jpg", help="kind of the file (.jpg)")
    parser.add_argument("--model", default="rtmdet-r-tiny", help="rotated or upright (rtmdet-r-tiny)")
    parser.add_argument("--tile", type=int, default=1024, metavar="PIXELS")
    parser.add_argument("--overlap", type=int, default=200, metavar="PIXELS")
    parser.add_argument("--batch-size", type=int, default=2, metavar="N", help="windows per forward pass (2)")
    parser.add_argument("--score-threshold", type=float, default=0.0, metavar="SCORE")
    parser.add_argument("--one", nargs=2, metavar=("STEP", "FILE"), help=argparse.SUPPRESS)  # one step, in this process
    add_json(parser)
    args = parser.parse_args()
    if args.one:
        step = {"draw": draw, "measure": measure}[args.one[0]]
        print(json.dumps(step(Path(args.one[1]), args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / f"scene{args.suffix}")
        found = {}
        for step in ("draw", "measure"):
            command = [sys.executable, __file__, *sys.argv[1:], "--one", step, file]
            found |= json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(f"{args.model}, {args.side} x {args.side} pixels, windows of {args.tile} with {args.overlap} overlap")
    print_table([{"figure": name, "value": value} for name, value in found.items()])
    write_result(args, found)


def draw(file: Path, args: argparse.Namespace) -> dict[str, float]:
    """Writes a scene of one to some ten thousand objects, and returns how many they are."""
    import cv2

    from rtmdet_lab.synthetic.aerial import render_aerial
    from rtmdet_lab.synthetic.folder import encode_image

    pixels, objects = render_aerial(size=args.side)
    options = {".jpg": (cv2.IMWRITE_JPEG_QUALITY, 95), ".png": (cv2.IMWRITE_PNG_COMPRESSION, 3)}[args.suffix]
    file.write_bytes(encode_image(pixels, args.suffix, *options))
    return {"objects drawn": len(objects), "MB of the file": file.stat().st_size / 2**20}


def measure(file: Path, args: argparse.Namespace) -> dict[str, float]:
    """Returns peaks and times of reading the image and predicting on it."""
    import torch

    from rtmdet_lab import create_model, predict
    from rtmdet_lab.data.images import read_image
    from rtmdet_lab.tasks import test_time

    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {"peak MB before the model": peak_mb()}
    model = create_model(args.model, 15, exp_on_reg=True).eval()  # sides above zero, as those of a trained one
    found["peak MB with the model"] = peak_mb()
    begin = time.perf_counter()
    image = read_image(file)
    found |= {"peak MB with the image": peak_mb(), "s to read": time.perf_counter() - begin}
    counts, merge_s = [], [0.0]
    one_result = test_time._one_result

    def timed(*arguments):
        start = time.perf_counter()
        result = one_result(*arguments)
        merge_s[0] = time.perf_counter() - start
        counts.append(sum(map(len, arguments[0].parts)))
        return result

    test_time._one_result = timed
    begin = time.perf_counter()
    settings = {"tile": args.tile, "overlap": args.overlap, "batch_size": args.batch_size}
    total = []
    (detections,) = predict(
        model, image, score_threshold=args.score_threshold, **settings, progress=lambda *done: total.append(done[1])
    )
    seconds = time.perf_counter() - begin
    found |= {"windows": total[-1], "s per window": (seconds - merge_s[0]) / total[-1], "s to merge": merge_s[0]}
    found |= {"s to predict": seconds, "detections of windows": counts[0], "detections of the image": len(detections)}
    return found | {"peak MB at the end": peak_mb()}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
