"""Coverage-guided fuzzing of everything that reads text or headers from strangers. Part of `make soak`.

    python tests/faults/fuzz_parsers.py weights --seconds 150

An input may be read or refused with a ``UserError``. Any other exception, 5 seconds without an answer or 1 GB of memory
beyond what PyTorch takes ends the program with exit code 1 and leaves the input beside the others in ``--keep``. What was
found and corrected is a case of ``corpus/``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SLOWEST_S, MEMORY_MB = 5, 1024
TARGETS = ("annotations", "labels", "weights", "overrides")
# What a mutation may put in: libFuzzer finds the words of a format only slowly by itself.
WORDS = {
    "annotations": (
        *("images", "annotations", "categories", "id", "image_id", "category_id", "bbox", "segmentation", "counts", "size"),
        *("file_name", "height", "width", "iscrowd", "area", "NaN", "Infinity", "1e999", "-1", "null", "true", "[]", "{}"),
    ),
    "labels": ("imagesource:", "gsd:", "plane", "ship", "nan", "1e6", "-0.0", " 0 0 0 0 0 0 0 0 "),
    "weights": (
        *("dtype", "shape", "data_offsets", "__metadata__", "F32", "BF16", "storage", "torch", "FloatStorage", "cpu"),
        *(
            "_rebuild_tensor_v2",
            "torch._utils",
            "collections",
            "OrderedDict",
            "ctorch\n",
            "\x80\x02",
            "}(",
            "\x86",
            "R.",
            "Q",
        ),
    ),
    "overrides": (
        "model.",
        "train.",
        "augment.",
        "kernel_size=",
        "stage_blocks=",
        "resize_range=",
        "=[",
        "]",
        "1e999",
        "null",
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=150, help="to look (150)")
    parser.add_argument("--keep", type=Path, default=Path("runs/fuzz"), help="folder for inputs that were found (runs/fuzz)")
    parser.add_argument("--seed", type=int, default=0, help="0: another one every time")
    parser.add_argument("--in-process", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.in_process is not None:
        return _fuzz(args)
    # libFuzzer ends its process, so that it gets one of its own; the inputs go with the folder.
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, *sys.argv[1:], "--in-process", folder]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    if done.returncode:
        print("\n".join(lines[-60:]), file=sys.stderr)
        print(f"{args.target}: something was found, its input is in {args.keep}", file=sys.stderr)
        return 1
    print(f"{args.target}: {next((line for line in reversed(lines) if line.startswith('Done')), 'done')}")
    return 0


def _fuzz(args: argparse.Namespace) -> int:
    import atheris
    import torch  # not instrumented: it is large, and not what is looked at

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=["rtmdet_lab", "json", "pickle", "zipfile"]):
        look = _target(args.target, args.in_process)
    seeds = args.in_process / "seeds"
    seeds.mkdir()
    for number, seed in enumerate(SEEDS[args.target]()):
        (seeds / str(number)).write_bytes(seed)
    words = args.in_process / "words"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word.encode("latin-1")) for word in WORDS[args.target])
    words.write_text("".join(f'"{word}"\n' for word in escaped))
    args.keep.mkdir(parents=True, exist_ok=True)
    import resource

    own_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    atheris.Setup(
        [
            sys.argv[0],
            str(seeds),
            f"-dict={words}",
            f"-artifact_prefix={args.keep}/{args.target}-",
            f"-max_total_time={args.seconds}",
            f"-timeout={SLOWEST_S}",
            f"-rss_limit_mb={own_mb + MEMORY_MB}",
            "-max_len=4096",
            f"-seed={args.seed}",
            "-verbosity=1",
        ],
        look,
    )
    atheris.Fuzz()
    return 0


def _target(name: str, folder: Path) -> Callable[[bytes], None]:
    """Returns what looks at one input: the first byte chooses between forms of a file, where there are several."""
    from rtmdet_lab.core.errors import UserError, as_sentence

    read = {"annotations": _annotations, "labels": _labels, "weights": _weights, "overrides": _overrides}[name](folder)

    def look(data: bytes) -> None:
        try:
            read(data)
        except UserError as error:
            sentence = as_sentence(error)
            assert sentence, "an error without a sentence"
            assert sentence.isprintable(), "a sentence that is not one line"

    return look


def _annotations(folder: Path) -> Callable[[bytes], None]:
    from rtmdet_lab.data.coco_file import read_coco
    from rtmdet_lab.data.segmentation import to_polygons
    from rtmdet_lab.geometry.masks import decode_segmentation

    path = folder / "coco.json"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        for record in read_coco(path, segmentations=True).images:
            if record.size is not None and record.size[0] * record.size[1] <= 1 << 16:  # a real image would be read first
                for one in record.segmentations:
                    assert decode_segmentation(one, record.size).shape == record.size
                    to_polygons(one, record.size)

    return read


def _labels(folder: Path) -> Callable[[bytes], None]:
    import numpy as np
    import torch

    from rtmdet_lab.data.dota import choose_classes
    from rtmdet_lab.data.label_file import read_label_file
    from rtmdet_lab.geometry.rotated import quads_to_rboxes, to_le90

    path = folder / "P1.txt"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        file = read_label_file(path, on_bad="skip")
        assert np.isfinite(file.quads).all()
        assert bool(to_le90(quads_to_rboxes(torch.from_numpy(file.quads))).isfinite().all())
        choose_classes(file.names)
        read_label_file(path)

    return read


def _weights(folder: Path) -> Callable[[bytes], None]:
    from rtmdet_lab.models.checkpoints import guess_size, read_checkpoint

    def read(data: bytes) -> None:
        form, data = data[:1], data[1:]
        path = folder / ("a.safetensors" if form in (b"s", b"h") else "a.pth")
        if form == b"h":  # a header alone, with its right length
            data = len(data).to_bytes(8, "little") + data + bytes(72)  # of the two tensors
        elif form == b"z":  # a pickle inside of a sound archive
            data = archive(data)
        path.write_bytes(data)
        checkpoint = read_checkpoint(path)
        guess_size(checkpoint.tensors)
        for tensor in checkpoint.tensors.values():
            assert tensor.numel() <= max(len(data), 1_000_000)

    return read


def _overrides(folder: Path) -> Callable[[bytes], None]:
    from rtmdet_lab.cli.common import parse_overrides
    from rtmdet_lab.config.overrides import from_dict, to_dict, with_overrides
    from rtmdet_lab.config.presets import resolve
    from rtmdet_lab.config.settings import ExperimentConfig
    from rtmdet_lab.notebook.parameters import check_parameters

    def read(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        if text.startswith("#"):
            check_parameters(["# parameters\nepochs = 3\nlr = 0.1\nnames = ['a']\non = False", f"# Parameters\n{text}"])
            return
        config = resolve(with_overrides(ExperimentConfig(), parse_overrides(text.split("\n"))))
        assert resolve(from_dict(json.loads(json.dumps(to_dict(config))))) == config

    return read


def archive(code: bytes) -> bytes:
    """Returns a checkpoint of PyTorch's whose pickle is ``code``, with the data of two tensors."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a/data.pkl", code)
        made.writestr("a/byteorder", b"little")
        made.writestr("a/data/0", bytes(range(48)))
        made.writestr("a/data/1", bytes(24))
        made.writestr("a/version", b"3\n")
    return file.getvalue()


def _coco_seeds() -> list[bytes]:
    image = {"id": 1, "file_name": "1.png", "height": 8, "width": 8}
    box: dict[str, Any] = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0}
    outlines = ([[1, 1, 5, 1, 5, 5, 1, 5]], {"size": [8, 8], "counts": [9, 4, 51]}, {"size": [8, 8], "counts": "94c1"})
    files = [
        {"images": [image], "annotations": [box | {"segmentation": one}], "categories": [{"id": 3, "name": "wide"}]}
        for one in outlines
    ]
    return [json.dumps(one).encode() for one in files]


def _label_seeds() -> list[bytes]:
    line = b"10 10 30 10 30 20 10 20 ship 0\n"
    return [b"imagesource:GoogleEarth\ngsd:0.1\n" + line, line * 2, b"0 0 9 9 0 9 9 0 plane 1\r\n", b"\xef\xbb\xbf" + line]


def _weight_seeds() -> list[bytes]:
    import torch
    from safetensors.torch import save

    tensors = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.tensor([1, 2, 3])}
    seeds = []
    for content in (tensors, {"state_dict": tensors, "meta": {"CLASSES": ("one", "two")}}):
        whole, stream = io.BytesIO(), io.BytesIO()
        torch.save(content, whole)
        torch.save(content, stream, _use_new_zipfile_serialization=False)
        with zipfile.ZipFile(whole) as made:
            code = made.read(next(name for name in made.namelist() if name.endswith("data.pkl")))
        seeds += [b"z" + code, b"p" + whole.getvalue(), b"p" + stream.getvalue()]
    own = save(tensors, {"model": "rtmdet-tiny", "classes": '["one"]', "config": "{}"})
    length = int.from_bytes(own[:8], "little")
    return [*seeds, b"s" + own, b"h" + own[8 : 8 + length]]


def _override_seeds() -> list[bytes]:
    return [
        b"model.kernel_size=7\ntrain.ema=false",
        b"model.backbone.stage_blocks=[3,9,9,3]",
        b"augment.resize_range=[0.5,2]\naugment.rotated_recipe=mixing\ntask=rotated",
        b'model={"head":{"sharing":"none"}}',
        b"test.tta_scales=[0.5,1,1.5]\ntest.tta=true\ntest.tile=64\ntest.overlap=16",
        b"# epochs\nepochs = 4\nlr = float('inf')",
        b"# names\nnames = ['a', \"b\"]\non = True",
    ]


SEEDS = {"annotations": _coco_seeds, "labels": _label_seeds, "weights": _weight_seeds, "overrides": _override_seeds}

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
