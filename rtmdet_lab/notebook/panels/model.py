"""The model explorer: two networks, chosen setting by setting, and what each costs and sees."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, cast, get_args

import ipywidgets as widgets
import torch

from rtmdet_lab.analysis.latency import Latency, measure_latency
from rtmdet_lab.analysis.model_summary import PARTS, Anatomy, anatomy, draw_weights, hollow_model
from rtmdet_lab.analysis.receptive_field import PLACES, ReceptiveField, features_at, receptive_field, settle_norms
from rtmdet_lab.config.presets import model_name, resolve_model
from rtmdet_lab.config.settings import BlockKind, ModelConfig, Sharing, Size, TaskName
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.layers.fuse import fuse
from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.notebook.panels.panel import Panel, View, html_table
from rtmdet_lab.viz.model import compare_models

NAMES = ("A", "B")
COST_SIZE = 640  # pixels at which published multiply-adds are counted
SIZES = (128, 160, 192, 256, 320, 448, 640)
# Multiply-adds of a pass up to which a network is measured as soon as it is chosen: a slow core does that in under a second.
AT_ONCE = 1e9
# What a network is chosen by -> the setting behind it.
CHOICE = {
    "size": "model.size",
    "block": "model.block",
    "kernel_size": "model.kernel_size",
    "depths": "model.backbone.stage_blocks",
    "attention": "model.backbone.channel_attention",
    "sharing": "model.head.sharing",
}


@dataclass(frozen=True)
class Precision:
    """How often to measure."""

    runs: int
    samples: int


QUICK, CAREFUL = Precision(runs=3, samples=2), Precision(runs=15, samples=20)


@dataclass(frozen=True)
class ModelChoice:
    """One network as the controls name it."""

    size: Size = "tiny"
    block: BlockKind = "large_kernel"
    kernel_size: int = 5
    depths: str = "3-6-6-3"
    attention: bool = True
    sharing: Sharing | None = None  # None: the published one of the size

    def settings(self) -> dict[str, Any]:
        """Returns the settings as ``create_model`` takes them.

        Raises:
            SettingError: depths that are not four numbers, or a kernel for a block that has none of its own.
        """
        numbers = re.findall(r"\d+", self.depths)
        if len(numbers) != 4 or re.search(r"[^\d\s,-]", self.depths):
            raise SettingError(f"depths are {self.depths!r}, but must be four numbers of blocks, such as 3-6-6-3")
        if "large_kernel" not in self.block and self.kernel_size != ModelConfig().kernel_size:
            raise SettingError(
                f"kernel {self.kernel_size} has no effect with {self.block}: choose a large_kernel block, or kernel 5"
            )
        return {
            "block": self.block,
            "kernel_size": self.kernel_size,
            "backbone.stage_blocks": [int(one) for one in numbers],
            "backbone.channel_attention": self.attention,
            "head.sharing": self.sharing,
        }


@dataclass
class ModelExplorer:
    """Computes what the panel shows, each thing once."""

    num_classes: int = 80
    seed: int = 0
    device: str = "cpu"
    _anatomies: dict[Any, Anatomy] = field(default_factory=dict, init=False)
    _measured: dict[Any, tuple[Precision, Latency, ReceptiveField]] = field(default_factory=dict, init=False)
    _built: tuple[Any, RTMDet] | None = field(default=None, init=False)  # the last network, weights not drawn

    def anatomy(self, choice: ModelChoice, task: TaskName) -> Anatomy:
        """Returns parameters, multiply-adds and shapes for images of ``COST_SIZE`` pixels.

        Raises:
            UserError: a network that cannot be built.
        """
        key = (choice, task)
        if key not in self._anatomies:
            self._anatomies[key] = anatomy(self._hollow(choice, task), COST_SIZE)
        return self._anatomies[key]

    def _hollow(self, choice: ModelChoice, task: TaskName) -> RTMDet:
        if self._built is None or self._built[0] != (choice, task):
            model = hollow_model(model_name(task, choice.size), self.num_classes, choice.settings())
            self._built = ((choice, task), model)
        return self._built[1]

    def at_once(self, choice: ModelChoice, task: TaskName, size: int) -> bool:
        """Whether measuring at ``size`` pixels takes so little time that nobody need ask for it."""
        return sum(self.anatomy(choice, task).macs.values()) * (size / COST_SIZE) ** 2 <= AT_ONCE

    def measured(
        self, choice: ModelChoice, task: TaskName, place: str, size: int, precision: Precision = QUICK
    ) -> tuple[Latency, ReceptiveField] | None:
        """Returns latency and receptive field at ``size`` pixels; None where that takes long and was never asked for.

        Latency is of the fused network. The receptive field is that of fresh weights with settled norms.
        """
        key = (choice, task, place, size)
        kept = self._measured.get(key)
        if kept is not None and kept[0].samples >= precision.samples:
            return kept[1:]
        if precision is QUICK and not self.at_once(choice, task, size):
            return None
        torch.manual_seed(self.seed)
        model = draw_weights(self._hollow(choice, task)).requires_grad_(False)
        features = features_at(model, place)
        settle_norms(model, features, size, self.seed)
        found = receptive_field(features, size, precision.samples, self.seed)
        latency = measure_latency(cast(RTMDet, fuse(model)), size, precision.runs, warmup=1, device=self.device)
        self._measured[key] = (precision, latency, found)
        return latency, found

    def view(self, choices: tuple[ModelChoice, ModelChoice], task: TaskName, place: str, size: int) -> View:
        """Returns bars, receptive fields and the table of shapes of two networks."""
        full = [self.anatomy(choice, task) for choice in choices]
        measured = [self.measured(choice, task, place, size) for choice in choices]
        latencies = [one and one[0] for one in measured]
        fields = [one and one[1] for one in measured]
        clock = next((one.device for one in latencies if one), "CPU")
        caption = (
            f"Effective receptive field of {place}: gradient of the central cell (fourth root), fresh weights, inputs of "
            f"{size} px. Squares hold 50 % (solid) and 90 % (dashed)."
        )
        if None in measured:
            slow = " and ".join(name for name, one in zip(NAMES, measured, strict=True) if one is None)
            caption = f"{slow}: too large to be measured at once at {size} px. Press Measure, or choose fewer pixels."
        figure = compare_models(
            [{part: count / 1e6 for part, count in one.params.items()} for one in full],
            [{part: count / 1e9 for part, count in one.macs.items()} for one in full],
            latencies,
            fields,
            NAMES,
            (f"multiply-adds at {COST_SIZE} px, G", f"latency at {size} px, ms, fused, {clock}", caption),
        )
        return View(figure, _table(choices, full, task))


def _table(choices: tuple[ModelChoice, ...], found: list[Anatomy], task: TaskName) -> str:
    header = ["", *(f"output of {name}" for name in NAMES), *(f"parameters {name}" for name in NAMES)]
    header += [f"multiply-adds {name}" for name in NAMES]
    rows = [
        [
            part,
            *(", ".join(" x ".join(map(str, shape)) for shape in one.shapes[part]) for one in found),
            *(f"{one.params[part]:,}" for one in found),
            *(f"{one.macs[part] / 1e9:.3f} G" for one in found),
        ]
        for part in PARTS
    ]
    totals = [f"{sum(one.params.values()):,}" for one in found], [f"{sum(one.macs.values()) / 1e9:.2f} G" for one in found]
    built = []
    for choice in choices:
        model = resolve_model(ModelConfig(size=choice.size), task)
        built.append(f"width {model.width:g}, depth {model.depth:g}")
    return html_table(header, [*rows, ["total", *built, *totals[0], *totals[1]]], strong=[len(rows)])


def model_panel(
    first: dict[str, Any] | None = None,
    second: dict[str, Any] | None = None,
    task: TaskName = "detection",
    place: str = PLACES[0],
    size: int = 160,
    explorer: ModelExplorer | None = None,
) -> Panel:
    """Returns the panel of two networks.

    Args:
        first, second: fields of :class:`ModelChoice` to begin with.
        task, place, size: of both; ``size`` is the input, in pixels, on which time and receptive field are measured.

    Raises:
        SettingError, UnknownNameError: a beginning that the controls do not have.
    """
    explorer = explorer or ModelExplorer()
    controls: dict[str, widgets.Widget] = {
        "task": widgets.Dropdown(
            options=[name for name, facts in TASKS.items() if facts.dense], description="task", layout=_width(190)
        ),
        "place": widgets.Dropdown(options=PLACES, description="looks from", layout=_width(250)),
        "pixels": widgets.Dropdown(options=SIZES, description="pixels", layout=_width(170)),
        "measure": widgets.Button(description="Measure", tooltip="more runs and samples; any size", layout=_width(100)),
    }
    for name in NAMES:
        controls |= {f"{key}_{name}": one for key, one in _choice_controls().items()}

    def read(values: dict[str, Any]) -> tuple[tuple[ModelChoice, ModelChoice], TaskName, str, int]:
        first, second = (ModelChoice(**{key: values[f"{key}_{name}"] for key in CHOICE}) for name in NAMES)
        return (first, second), values["task"], values["place"], values["pixels"]

    panel = Panel(
        controls,
        [["both", "task", "place", "pixels", "measure"], *([name, *(f"{key}_{name}" for key in CHOICE)] for name in NAMES)],
        lambda **values: explorer.view(*read(values)),
        {"task": "task"} | {f"{key}_{name}": setting for name in NAMES for key, setting in CHOICE.items()},
    )

    def measure(_: Any) -> None:
        both, task, place, size = read(panel.values)
        panel.message.value = "measuring ..."
        with panel.telling():
            for choice in dict.fromkeys(both):
                explorer.measured(choice, task, place, size, CAREFUL)
            panel.refresh()

    controls["measure"].on_click(measure)
    begin = {
        f"{key}_{name}": value
        for name, one in zip(NAMES, (first, second), strict=True)
        for key, value in (one or {}).items()
    }
    panel.assign(task=task, place=place, pixels=size, **begin)
    return panel


def _choice_controls() -> dict[str, widgets.Widget]:
    sharing = [("published", None), *((one, one) for one in get_args(Sharing))]
    published = ModelChoice()
    return {
        "size": widgets.Dropdown(options=get_args(Size), value=published.size, description="size", layout=_width(150)),
        "block": widgets.Dropdown(options=get_args(BlockKind), description="block", layout=_width(210)),
        "kernel_size": widgets.BoundedIntText(
            published.kernel_size, min=1, max=31, step=2, description="kernel", layout=_width(140)
        ),
        "depths": widgets.Combobox(
            value=published.depths,
            options=["3-6-6-3", "3-9-9-3", "3-3-9-3", "2-2-2-2"],
            continuous_update=False,
            description="depths",
            layout=_width(190),
        ),
        "attention": widgets.Checkbox(published.attention, description="attention", indent=False, layout=_width(90)),
        "sharing": widgets.Dropdown(options=sharing, description="head shares", layout=_width(200)),
    }


def _width(pixels: int) -> widgets.Layout:
    return widgets.Layout(width=f"{pixels}px")
