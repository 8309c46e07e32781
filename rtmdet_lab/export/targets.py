"""``export_model``: one network written for one runtime."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from rtmdet_lab.config.settings import TestConfig
from rtmdet_lab.core.errors import SettingError, StorageError, UnknownNameError, did_you_mean
from rtmdet_lab.core.files import write_atomic
from rtmdet_lab.core.outputs import remember_output, require_output, write_output
from rtmdet_lab.export import runner
from rtmdet_lab.export.exported import METADATA, require
from rtmdet_lab.export.network import ExportNetwork, example_images, exported_program
from rtmdet_lab.export.onnx_file import describe, raw_onnx, with_postprocessing
from rtmdet_lab.export.openvino_file import convert_onnx, detections_openvino
from rtmdet_lab.export.quantize import quantize_onnx, quantize_openvino
from rtmdet_lab.export.tensorrt_file import build_engine
from rtmdet_lab.export.written import remember
from rtmdet_lab.models.network import Network
from rtmdet_lab.tasks.factory import spec_of

if TYPE_CHECKING:
    import onnx

Output = Literal["detections", "raw"]
Precision = Literal["fp32", "fp16", "int8"]
SUFFIXES = {
    "onnx": ".onnx",
    "openvino": ".xml",
    "tensorrt": ".engine",
    "torch-export": ".pt2",
    "torchscript": ".torchscript",
}
BESIDE = "file beside an export"
WITH_NMS = ("onnx", "openvino")
PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16", "int8"),
    "tensorrt": ("fp32", "fp16"),
    "torch-export": ("fp32", "fp16"),
    "torchscript": ("fp32", "fp16"),
}


@dataclass(frozen=True)
class Plan:
    """What is exported, checked before any work begins."""

    target: str
    output: Output
    precision: Precision
    test: TestConfig  # resolved; its thresholds go into the file
    classes: tuple[str, ...]

    def description(self, task: str) -> dict[str, Any]:
        settings = self.test.post_processing()
        return {"task": task, "classes": list(self.classes), "output": self.output, "precision": self.precision, **settings}


def make_plan(
    task: str,
    target: str,
    test: TestConfig,
    classes: Sequence[str],
    output: Output | None = None,
    precision: Precision = "fp32",
) -> Plan:
    """Returns the plan; ``output`` None means detections where task and target have them, else the raw heads.

    Raises:
        UnknownNameError: no such target.
        SettingError: a combination that does not exist; says which does.
    """
    if target not in SUFFIXES:
        hint = did_you_mean(target, SUFFIXES) or f"choose one of {', '.join(SUFFIXES)}"
        raise UnknownNameError(f"there is no export target {target!r}: {hint}")
    if precision not in PRECISIONS[target]:
        able = ", ".join(name for name, known in PRECISIONS.items() if precision in known)
        raise SettingError(f"target {target} cannot be exported in {precision}: choose one of {able or 'fp32, fp16, int8'}")
    possible = target in WITH_NMS and spec_of(task).found_outputs is not None
    if output == "detections" and target not in WITH_NMS:
        raise SettingError(
            f"target {target} holds the network without NMS: choose --output raw, or one of {', '.join(WITH_NMS)}"
        )
    if output == "detections" and not possible:
        raise SettingError("no runtime's NMS knows rotated boxes: choose --output raw, whose boxes are decoded already")
    return Plan(target, output or ("detections" if possible else "raw"), precision, test, tuple(classes))


def export_model(
    model: Network, plan: Plan, path: Path, calibration: Iterable[np.ndarray] = (), overwrite: bool = False
) -> list[Path]:
    """Writes ``model`` as ``plan`` says and returns the files made; each is written whole or not at all.

    Args:
        path: ends in the target's suffix; OpenVINO's weights lie beside it (.bin), the runner beside ONNX detections.
        calibration: canvases (1, 3, H, W) uint8 RGB, as the network will see them; needed for int8.

    Raises:
        SettingError: the path has another suffix or exists, or the target's package is not installed.
        StorageError: a file cannot be written, or one beside the export is not that of an earlier one.
    """
    suffix = SUFFIXES[plan.target]
    if path.suffix != suffix:
        raise SettingError(f"{path} does not end in {suffix}, by which files for {plan.target} are known: rename it")
    path = Path(os.path.realpath(path)) if path.is_symlink() else path  # the link stays
    beside = {"openvino": [path.with_suffix(".bin")], "onnx": [path.with_name("runner.py")]}
    beside = beside.get(plan.target, []) if plan.target == "openvino" or plan.output == "detections" else []
    if path.exists() and not overwrite:
        raise SettingError(f"{path} exists: name another file, or allow it to be replaced (--overwrite)")
    for one in beside:
        if not (plan.target == "openvino" and path.exists()):  # the weights of a network that may be replaced go with it
            require_output(one, BESIDE)
    WRITERS[plan.target](model, plan, path, calibration)
    for one in beside:
        remember_output(one, BESIDE)
    return [path, *(one for one in beside if one.exists())]


def _raw_onnx(model: Network, half: bool) -> onnx.ModelProto:
    require("onnx", "exporting to ONNX")
    require("onnxscript", "exporting to ONNX")
    return raw_onnx(ExportNetwork(model, half))


def _onnx_model(model: Network, plan: Plan, calibration: Iterable[np.ndarray] = ()) -> onnx.ModelProto:
    network = _raw_onnx(model, half=plan.precision == "fp16" and plan.target == "onnx")
    if plan.precision == "int8":
        network = quantize_onnx(network, calibration)
    if plan.output == "detections":
        network = with_postprocessing(network, model.task, plan.test)
    describe(network, plan.description(model.task))
    return network


def _write_onnx(model: Network, plan: Plan, path: Path, calibration: Iterable[np.ndarray]) -> None:
    content = _onnx_model(model, plan, calibration).SerializeToString()
    write_atomic(path, content)
    if plan.output == "detections":
        write_output(path.with_name("runner.py"), BESIDE, Path(runner.__file__).read_bytes())


def _write_openvino(model: Network, plan: Plan, path: Path, calibration: Iterable[np.ndarray]) -> None:
    openvino = require("openvino", "exporting to OpenVINO")
    with _folder_for(path) as folder:  # first: calibration takes minutes, and a folder may refuse
        network = convert_onnx(_raw_onnx(model, half=False))
        if plan.precision == "int8":
            network = quantize_openvino(network, calibration)
        if plan.output == "detections":
            network = detections_openvino(network, model.task, plan.test)
        network.set_rt_info(json.dumps(plan.description(model.task)), METADATA)
        made = Path(folder) / path.name
        openvino.save_model(network, made, compress_to_fp16=plan.precision == "fp16")
        # The weights first: a file that can be opened then always has them.
        os.replace(made.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(made, path)


def _folder_for(path: Path) -> tempfile.TemporaryDirectory:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise StorageError(f"cannot write into {path.parent} ({error.strerror}): choose another folder") from error


def _write_torch_export(model: Network, plan: Plan, path: Path, calibration: Iterable[np.ndarray]) -> None:
    program = exported_program(ExportNetwork(model, half=plan.precision == "fp16"))
    text = json.dumps(plan.description(model.task))
    with _folder_for(path) as folder:
        made = Path(folder) / path.name
        torch.export.save(program, made, extra_files={METADATA: text})
        remember(made)
        os.replace(made, path)


def _write_torchscript(model: Network, plan: Plan, path: Path, calibration: Iterable[np.ndarray]) -> None:
    network = ExportNetwork(model, half=plan.precision == "fp16")
    text = json.dumps(plan.description(model.task))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # PyTorch calls TorchScript its older form; who asks for it has a reason
        traced = torch.jit.trace(network, example_images(), check_trace=False)
    with _folder_for(path) as folder:
        made = Path(folder) / path.name
        traced.save(str(made), _extra_files={METADATA: text})
        remember(made)
        os.replace(made, path)


def _write_tensorrt(model: Network, plan: Plan, path: Path, calibration: Iterable[np.ndarray]) -> None:
    require("tensorrt", "exporting to TensorRT", "pip install tensorrt, on a machine with an NVIDIA GPU")
    network = _onnx_model(model, plan)
    write_atomic(path, build_engine(network.SerializeToString(), plan.test.input_size, plan.precision == "fp16"))


WRITERS: dict[str, Callable[[Network, Plan, Path, Iterable[np.ndarray]], None]] = {
    "onnx": _write_onnx,
    "openvino": _write_openvino,
    "tensorrt": _write_tensorrt,
    "torch-export": _write_torch_export,
    "torchscript": _write_torchscript,
}
