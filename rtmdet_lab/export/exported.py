"""An exported file, opened in the runtime it was made for, and its detections."""

from __future__ import annotations

import importlib
import io
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rtmdet_lab.config.settings import TestConfig
from rtmdet_lab.core.errors import DataError, SettingError
from rtmdet_lab.core.structures import Detections, ImageMeta
from rtmdet_lab.export.runner import read
from rtmdet_lab.export.written import was_written_here
from rtmdet_lab.tasks.factory import decode_for, spec_of

METADATA = "rtmdet_lab"  # key of the description, JSON, inside every exported file
Run = Callable[[np.ndarray], dict[str, np.ndarray]]


def require(package: str, purpose: str, install: str = "pip install 'rtmdet-lab[export]'") -> ModuleType:
    """Returns a package that is imported only where it is used.

    Raises:
        SettingError: it is not installed; says how to get it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise SettingError(f"{purpose} needs {package}, which is not installed: {install}") from error


@dataclass
class Exported:
    """An exported network: ``run`` takes (B, 3, H, W) uint8 RGB and returns arrays by output name."""

    run: Run
    description: dict[str, Any]  # task, classes, output, precision, input_size and the settings of post-processing

    @property
    def test_config(self) -> TestConfig:
        return TestConfig(**{name: self.description[name] for name in TestConfig().post_processing()})

    def detect(self, images: Tensor, metas: Sequence[ImageMeta]) -> list[Detections]:
        """Returns the detections of a batch of canvases (B, 3, H, W) uint8 RGB, in original pixels, best first."""
        raw = self.run(images.numpy())
        if self.description["output"] == "raw":
            task = self.description["task"]
            return decode_for(task)(spec_of(task).from_raw(raw, images), metas, self.test_config)
        return [_found({name: one[row] for name, one in raw.items()}, meta) for row, meta in enumerate(metas)]


def as_detections(found: dict[str, np.ndarray], meta: ImageMeta | None = None) -> Detections:
    """Returns what :mod:`rtmdet_lab.export.runner` found in an image."""
    return Detections(**{name: torch.from_numpy(one) for name, one in found.items()}, meta=meta)


def _found(raw: dict[str, np.ndarray], meta: ImageMeta) -> Detections:
    height, width = meta.original_size
    used = (round(height * meta.scale[1]), round(width * meta.scale[0]))
    return as_detections(read(raw, meta.canvas_size[0], used, (height, width)), meta)


def open_exported(
    path: Path, threads: int = 0, fixed: tuple[int, int, int] | None = None, run_code: bool = False
) -> Exported:
    """Returns an exported file ready to run, on the CPU.

    Files for PyTorch (.pt2, .torchscript) are programs: opening one runs what its maker put in. They are opened where they
    were written here, by this user on this machine (:mod:`rtmdet_lab.export.written`), or with ``run_code``.

    Args:
        threads: of the runtime; 0 leaves the choice to it.
        fixed: batch, height, width of all that will come, for runtimes that are faster when they know (OpenVINO).
        run_code: open a file for PyTorch wherever it comes from; say so only of files whose maker you trust.

    Raises:
        DataError: no such file, not one of ours, or a program that was not written here.
        SettingError: its runtime is not installed.
    """
    if not path.is_file():
        raise DataError(f"no exported model {path}: the file does not exist")
    if path.suffix not in OPENERS:
        raise DataError(f"{path} is no exported model: its name ends in none of {', '.join(OPENERS)}")
    source: Path | io.BytesIO = path
    if path.suffix in PROGRAMS:
        content = path.read_bytes()  # what is looked at is what is opened
        if not run_code and not was_written_here(content):
            raise DataError(
                f"{path} is a program that runs when it is opened, and was not written here: export the weights again, "
                "or, if you trust whoever made it, open it with open_exported(..., run_code=True)"
            )
        source = io.BytesIO(content)
    try:
        run, text = OPENERS[path.suffix](source, threads, fixed)
        return Exported(run, json.loads(text))
    except SettingError:
        raise
    except Exception as error:  # each runtime has errors of its own
        raise DataError(f"{path} cannot be opened as an exported model ({str(error).splitlines()[0]})") from error


def _open_onnx(path: Path, threads: int, fixed: Any) -> tuple[Run, str]:
    runtime = require("onnxruntime", "running an ONNX file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    text = session.get_modelmeta().custom_metadata_map[METADATA]
    return lambda images: dict(zip(names, session.run(names, {"images": images}), strict=True)), text


def _open_openvino(path: Path, threads: int, fixed: tuple[int, int, int] | None) -> tuple[Run, str]:
    openvino = require("openvino", "running an OpenVINO file")
    core = openvino.Core()
    model = core.read_model(path)
    text = model.get_rt_info(METADATA).astype(str)
    if fixed is not None:
        model.reshape([fixed[0], 3, *fixed[1:]])
    # Without the hint a CPU that knows bfloat16 computes in it, and an exported network would differ from PyTorch's.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(model, "CPU", settings | ({"INFERENCE_NUM_THREADS": threads} if threads else {}))
    names = [one.get_any_name() for one in compiled.outputs]
    request = compiled.create_infer_request()

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        results = request.infer({0: images})
        return {name: np.array(results[number]) for number, name in enumerate(names)}  # their memory is used again

    return run, text


def by_torch(module: Callable[[Tensor], tuple[Tensor, ...]], task: str) -> Run:
    """Returns ``Exported.run`` for a PyTorch module that gives the raw heads."""

    @torch.inference_mode()
    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(spec_of(task).raw_outputs, (one.numpy() for one in module(torch.from_numpy(images))), strict=True))

    return run


def _open_torch_export(file: io.BytesIO, threads: int, fixed: Any) -> tuple[Run, str]:
    extra = {METADATA: ""}
    program = torch.export.load(file, extra_files=extra)
    return by_torch(program.module(), json.loads(extra[METADATA])["task"]), extra[METADATA]


def _open_torchscript(file: io.BytesIO, threads: int, fixed: Any) -> tuple[Run, str]:
    extra = {METADATA: ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch calls TorchScript its older form; who asks for it has a reason
        module = torch.jit.load(file, map_location="cpu", _extra_files=extra)
    text = extra[METADATA].decode() if isinstance(extra[METADATA], bytes) else extra[METADATA]
    return by_torch(module, json.loads(text)["task"]), text


OPENERS: dict[str, Callable[[Any, int, Any], tuple[Run, str]]] = {
    ".onnx": _open_onnx,
    ".xml": _open_openvino,
    ".pt2": _open_torch_export,
    ".torchscript": _open_torchscript,
}
PROGRAMS = (".pt2", ".torchscript")  # whose readers run what the file says
