"""Loading and saving weights: published files as they are, our own as safetensors.

``load_checkpoint`` copies what fits by key and says what did not. Module attributes carry the published names, so no key
map is needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rtmdet_lab.core.errors import CheckpointError, DataError
from rtmdet_lab.core.files import require_plain, write_atomic
from rtmdet_lab.models.agreement import match_rows, require_finite, require_same_meaning, rows_by_name
from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.models.download import fetch, is_address, public_name
from rtmdet_lab.models.knowledge import Knowledge, guess_size, knowledge_of
from rtmdet_lab.models.network import Network
from rtmdet_lab.models.safe_pickle import UnreadableFile, read_tensors
from rtmdet_lab.models.zoo import ZOO, zoo_entry

PREDICTOR_KEYS = re.compile(r"bbox_head\.rtm_cls\.|head\.fc\.")  # whose shape depends on the number of classes
RUN_WEIGHTS = ("best.safetensors", "last.safetensors")  # of a run's folder
WRAPPER_PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile


@dataclass
class LoadReport:
    """What :func:`load_checkpoint` did."""

    source: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # keys of the model that the file does not have
    unexpected: list[str] = field(default_factory=list)  # keys of the file that the model does not have
    converted: list[str] = field(default_factory=list)  # keys that were renamed or changed in type on the way
    skipped: list[str] = field(default_factory=list)  # class predictors left out on request
    unplaced: list[str] = field(default_factory=list)  # those of ``unexpected`` that belong to a part the model has
    notes: list[str] = field(default_factory=list)  # sentences about what was matched, converted or assumed
    classes: tuple[str, ...] | None = None  # class names the file knows
    folded_norm: bool = False  # batch norm is folded into the weights: training must not use batch statistics

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors from {self.source}"]
        for name in ("missing", "unexpected", "converted", "skipped"):
            keys = getattr(self, name)
            if keys:
                parts.append(f"{len(keys)} {name} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})")
        return "; ".join(parts)

    def require_complete(self) -> LoadReport:
        """Returns itself, or raises :class:`CheckpointError` if the model has keys that the file lacks, or the reverse."""
        if self.missing:
            raise CheckpointError(
                f"{self.source} lacks {len(self.missing)} of the model's weights ({', '.join(self.missing[:3])}, ...): "
                "it was made for another model or is incomplete"
            )
        if self.unplaced:
            raise CheckpointError(
                f"{self.source} has {len(self.unplaced)} weights that this model has no place for "
                f"({', '.join(self.unplaced[:3])}, ...): it was made for another model"
            )
        return self


@dataclass
class Checkpoint:
    """A weight file's content: tensors by key, and what it says about itself."""

    tensors: dict[str, Tensor]  # without the prefixes that wrappers of a model put before its keys
    classes: tuple[str, ...] | None = None
    model: str | None = None  # model name, in our own files
    config: dict[str, Any] | None = None  # experiment configuration, in our own files
    text: str | None = None  # configuration as the published code writes it
    renamed: list[str] = field(default_factory=list)  # keys that had such a prefix

    def __post_init__(self) -> None:
        tensors = {}
        for key, value in self.tensors.items():
            name = key
            while name.startswith(WRAPPER_PREFIXES):
                name = name.partition(".")[2]
            tensors[name] = value
            if name != key:
                self.renamed.append(name)
        self.tensors = tensors

    def knowledge(self, source: str | Path) -> Knowledge:
        """Returns what is known of the network that the weights of ``source`` were trained in."""
        data = self.config.get("data") if self.config else None
        named = data.get("classes") if isinstance(data, dict) else None
        if isinstance(named, list) and named and self.classes and tuple(named) != self.classes:
            raise CheckpointError(f"{source} names its classes twice, and differently: it was changed, use the original")
        return knowledge_of(public_name(source), self.tensors, self.config, self.text)


def load_checkpoint(
    model: nn.Module,
    source: str | Path,
    *,
    reset_predictors: bool = False,
    new_classes: bool = False,
    class_names: Sequence[str] | None = None,
    part: str = "",
) -> LoadReport:
    """Copies the weights of ``source`` into ``model`` and returns what matched.

    What the file knows of the network it was trained in is compared with a detector's settings, and the class rows of any
    task go by name where ``model.classes`` and the file name them (:mod:`rtmdet_lab.models.agreement`).

    Args:
        source: a path, a run folder, a URL, or a name of the zoo (``rtmdet-lab models`` lists them).
        reset_predictors: leave out the class predictors, for a file with other classes.
        new_classes: classes of the model that the file lacks keep the rows they have, to be trained.
        class_names: what the file's classes are called, in their order there, instead of what it says itself.
        part: take only keys that begin so, such as ``backbone.``, whatever else the file holds.

    Raises:
        CheckpointError: no such file, unreadable, trained with settings that differ, or for other classes.
        UnknownNameError: neither a file nor a name of the zoo.
        DownloadError: the file is not at hand and cannot be fetched.
    """
    path = locate(source)
    checkpoint = read_checkpoint(path)
    given = {key: value for key, value in checkpoint.tensors.items() if key.startswith(part)}
    is_detector = isinstance(model, RTMDet) and any(key.startswith("bbox_head.") for key in given)
    knowledge = checkpoint.knowledge(source) if is_detector else Knowledge()
    if class_names is not None:
        checkpoint.classes = tuple(class_names)
    report = LoadReport(source=public_name(source), classes=checkpoint.classes)
    own = model.state_dict()
    retyped = {key for key, value in given.items() if key in own and value.dtype != own[key].dtype}
    report.converted = [key for key in given if key in retyped or key in set(checkpoint.renamed)]
    if reset_predictors:
        report.skipped = [key for key in given if PREDICTOR_KEYS.match(key)]
    wanted = {key: value for key, value in given.items() if key not in set(report.skipped)}
    report.unexpected = [key for key in wanted if key not in own]
    parts = tuple(f"{name}." for name, _ in model.named_children())
    report.unplaced = [key for key in report.unexpected if key.startswith(parts)]
    report.loaded = [key for key in wanted if key in own]
    report.missing = [key for key in own if key not in wanted and key not in set(report.skipped)]
    if not report.loaded:
        raise CheckpointError(f"{path} has no weights of this model: its keys begin with {_first_parts(given)}")
    require_finite(path, {key: wanted[key] for key in report.loaded})
    if is_detector:
        report.notes += require_same_meaning(path, knowledge, model, given)
    if isinstance(model, Network):
        _match_class_rows(path, checkpoint, model, own, wanted, report, new_classes)
    _check_shapes(path, model, own, wanted)
    model.load_state_dict({key: wanted[key] for key in report.loaded}, strict=False)
    report.folded_norm = _norm_is_folded(model)
    if isinstance(model, RTMDet):
        model.input_size = model.input_size or knowledge.input_size
    return report


def _match_class_rows(
    path: Path,
    checkpoint: Checkpoint,
    model: Network,
    own: Mapping[str, Tensor],
    wanted: dict[str, Tensor],
    report: LoadReport,
    new_classes: bool,
) -> None:
    """Puts the class rows of ``wanted`` into the order of the model's classes; a model without names takes the file's."""
    keys = [key for key in wanted if model.class_rows.match(key) and key in own and wanted[key].ndim]
    count = len(wanted[keys[0]]) if keys else 0
    if not keys or any(len(wanted[key]) != count or wanted[key].shape[1:] != own[key].shape[1:] for key in keys):
        return  # weights of another network: their shapes are named next
    match = match_rows(path, checkpoint.classes, count, model.classes, model.num_classes, new_classes=new_classes)
    report.notes += match.notes
    if match.rows is not None:
        for key in keys:
            wanted[key] = rows_by_name(match, wanted[key], own[key])
        report.converted += [key for key in keys if key not in report.converted]
    if model.classes is None and checkpoint.classes is not None and len(checkpoint.classes) == count:
        model.classes = checkpoint.classes


def locate(source: str | Path) -> Path:
    """Returns the local file of a path, run folder, URL or zoo name, downloading it if need be."""
    # A path takes one of the two slashes away.
    text = re.sub(r"^(https?):/+(?=[^/])", r"\1://", str(source))
    if is_address(text):
        known = [entry.sha256_prefix for entry in ZOO.values() if entry.url == text]
        return fetch(text, known[0] if known else "")
    path = Path(source)
    try:
        if path.is_dir():
            return _weights_of_run(path)
        if path.exists():
            require_plain(path, "weight file")
            return path
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except DataError as error:
        raise CheckpointError(str(error)) from None
    if text not in ZOO and (path.suffix or len(path.parts) > 1):
        raise CheckpointError(f"no checkpoint {path}: the file does not exist")
    entry = zoo_entry(text)
    return fetch(entry.url, entry.sha256_prefix)


def _weights_of_run(folder: Path) -> Path:
    """Returns the weight file that a run is scored with: the last one where its ``train.score_of`` says so."""
    there = [folder / name for name in RUN_WEIGHTS if (folder / name).is_file()]
    if not there:
        names = " or ".join(RUN_WEIGHTS)
        raise CheckpointError(f"folder {folder} holds no weights ({names}): name a run folder or a weight file")
    config = read_checkpoint(there[-1]).config or {}
    train = config.get("train")
    return there[-1] if isinstance(train, dict) and train.get("score_of") == "last" else there[0]


def read_checkpoint(path: Path) -> Checkpoint:
    """Returns a weight file's tensors and self-description; executes nothing in it."""
    try:
        if _is_safetensors(path):
            return _read_safetensors(path)
        content = read_tensors(path)
    except UnreadableFile as error:
        raise CheckpointError(f"{path} {error}") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a mapping of weights")
    meta = content.get("meta", {})
    tensors = content.get("state_dict", content)
    if not isinstance(tensors, Mapping):
        raise CheckpointError(f"{path} holds no readable state_dict")
    kept = {key: value for key, value in tensors.items() if isinstance(key, str) and isinstance(value, Tensor)}
    return Checkpoint(kept, _published_classes(meta), text=_published_text(meta))


def save_weights(
    path: Path, state_dict: Mapping[str, Tensor], *, model: str, classes: Sequence[str] | None, config: dict[str, Any]
) -> None:
    """Writes weights as safetensors with their model name, classes and configuration; atomic, under all official keys."""
    from safetensors.torch import save

    # A tensor shared by several keys is written once per key: the file then loads anywhere without knowing the sharing.
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state_dict.items()}
    metadata = {"model": model, "classes": json.dumps(list(classes) if classes else None), "config": json.dumps(config)}
    write_atomic(path, save(tensors, metadata))


def _is_safetensors(path: Path) -> bool:
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def _read_safetensors(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    if path.stat().st_size == 0:
        raise UnreadableFile("is empty (0 bytes)")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise UnreadableFile(f"is damaged or not a safetensors file ({error})") from error
    try:
        classes = json.loads(metadata.get("classes", "null"))
        config = json.loads(metadata.get("config", "null"))
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(f"has damaged metadata ({error})") from error
    if classes is not None and not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise UnreadableFile("has damaged metadata (its classes are not a list of names)")
    if config is not None and not isinstance(config, dict):
        raise UnreadableFile("has damaged metadata (its configuration is not a mapping)")
    return Checkpoint(tensors, tuple(map(str, classes)) if classes else None, metadata.get("model"), config)


def _published_classes(meta: Any) -> tuple[str, ...] | None:
    if not isinstance(meta, Mapping):
        return None
    dataset = meta.get("dataset_meta")
    names = dataset.get("classes", dataset.get("CLASSES")) if isinstance(dataset, Mapping) else meta.get("CLASSES")
    if isinstance(names, str):
        return (names,)
    named = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    return tuple(names) if named else None


def _published_text(meta: Any) -> str | None:
    """Returns the configuration that the published code writes into its files, as text."""
    texts = [meta.get(name) for name in ("cfg", "config")] if isinstance(meta, Mapping) else []
    return next((text for text in texts if isinstance(text, str)), None)


def _check_shapes(path: Path, model: nn.Module, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    wrong = [key for key in own if key in given and given[key].shape != own[key].shape]
    if not wrong:
        return
    key = wrong[0]
    looks_like = guess_size(given)
    hint = f"; it looks like size {looks_like!r}" if looks_like else ""
    raise CheckpointError(
        f"{path} does not fit this model{hint}: {len(wrong)} weights differ in shape, first {key} with "
        f"{tuple(given[key].shape)} where {tuple(own[key].shape)} is needed"
    )


def _first_parts(tensors: Mapping[str, Tensor]) -> str:
    parts = sorted({key.split(".")[0] for key in tensors})
    return ", ".join(parts[:4]) if parts else "nothing"


@torch.no_grad()
def _norm_is_folded(model: nn.Module) -> bool:
    """Whether every batch norm of the model is the identity but for its bias, as after folding it into convolutions."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]

    def is_identity(norm: nn.BatchNorm2d) -> bool:
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        untouched = bool((norm.bias == 0).all())  # a freshly made norm is the identity too, and not folded
        return not untouched and bool((norm.running_mean == 0).all()) and bool(((scale - 1).abs() < 1e-4).all())

    return bool(norms) and all(is_identity(norm) for norm in norms)
