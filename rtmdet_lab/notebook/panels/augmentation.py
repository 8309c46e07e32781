"""The augmentation explorer: one training sample, step by step, with what each step drew and what the caches hold.

Steps are the published ones one by one (``augment.one_resize`` off): the fused ones draw the same numbers and make the same
boxes, but are one step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from rtmdet_lab.analysis.pipeline_trace import Step, Tracer
from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.presets import resolve
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import UnknownNameError, did_you_mean
from rtmdet_lab.data.loaders import Source
from rtmdet_lab.engine.stages import Stage, plan_stages
from rtmdet_lab.notebook.panels.panel import Panel, View
from rtmdet_lab.tasks.factory import spec_of
from rtmdet_lab.viz.pipeline_trace import plot_step, plot_steps


@dataclass
class AugmentationExplorer:
    """Pipelines and traces of up to three tasks.

    Args:
        sources: training sets by task.
        settings: dotted settings of every task's configuration, such as ``augment.input_size``.
        seed: of the samples, as ``seed`` of a run.
    """

    sources: Mapping[str, Source]
    settings: Mapping[str, Any]
    seed: int = 0
    _tracers: dict[tuple[str, str, int], Tracer] = field(default_factory=dict, init=False)

    def stages(self, task: str) -> tuple[str, ...]:
        """Returns the names of a task's pipelines.

        Raises:
            UnknownNameError: a task without data.
        """
        if task not in self.sources:
            raise UnknownNameError(
                f"no data for the task {task!r}: {did_you_mean(task, self.sources)} there is {', '.join(self.sources)}"
            )
        return tuple(spec_of(task).shown_stages)

    def stage(self, task: str, stage: str) -> Stage:
        """Returns a published stage, its pipeline's steps one by one, and the set as it is read there.

        Raises:
            UnknownNameError, SettingError: a stage the task does not have, or settings that do not fit it.
        """
        known = self.stages(task)
        if stage not in known:
            raise UnknownNameError(f"no stage {stage!r} of the task {task}: there are {', '.join(known)}")
        overrides = {"task": task, **spec_of(task).shown_stages[stage], **self.settings}
        config = resolve(with_overrides(ExperimentConfig(), overrides))
        return next(one for one in plan_stages(config, self.sources[task]) if one.name == stage)

    def steps(self, task: str, stage: str, position: int, seed: int | None = None) -> list[Step]:
        """Returns the steps of sample number ``position`` of the first epoch."""
        seed = self.seed if seed is None else seed
        key = (task, stage, seed)
        if key not in self._tracers:
            chosen = self.stage(task, stage)
            self._tracers[key] = Tracer(chosen.pipeline, chosen.source, seed)
        return self._tracers[key].steps(position)

    def strip(self, task: str, stage: str, position: int) -> Figure:
        """Returns all steps of a sample, a picture each."""
        steps = self.steps(task, stage, position)
        title = f"{task}, {stage} stage, sample {position}: {sum(one.milliseconds for one in steps):.0f} ms"
        return plot_steps(steps, self.sources[task].classes, title)


def augmentation_panel(
    explorer: AugmentationExplorer, task: str | None = None, stage: str | None = None, position: int = 12, step: int = 1
) -> Panel:
    """Returns the panel: task, stage, sample and step.

    Args:
        task, stage: by default the first of each.
        position: of the sample in its epoch; caches fill as it grows.
        step: 0 loads the image.

    Raises:
        SettingError, UnknownNameError: a beginning that there is not.
    """
    task = next(iter(explorer.sources)) if task is None else task
    stages = explorer.stages(task)
    controls: dict[str, widgets.Widget] = {
        "task": widgets.Dropdown(options=list(explorer.sources), value=task, description="task", layout=_width(190)),
        "stage": widgets.Dropdown(options=stages, description="stage", layout=_width(170)),
        "sample": widgets.BoundedIntText(
            position, min=0, max=len(explorer.sources[task]) - 1, description="sample", layout=_width(150)
        ),
        "seed": widgets.BoundedIntText(explorer.seed, min=0, max=2**31 - 1, description="seed", layout=_width(150)),
        "step": widgets.IntSlider(0, min=0, max=1, description="step", continuous_update=False, layout=_width(330)),
    }

    def steps(values: Mapping[str, Any]) -> list[Step]:
        return explorer.steps(values["task"], values["stage"], values["sample"], values["seed"])

    def draw(**values: Any) -> View:
        found = steps(values)
        return View(plot_step(found, min(values["step"], len(found) - 1), explorer.sources[values["task"]].classes))

    panel = Panel(controls, [["task", "stage", "sample", "seed", "step"]], draw, {"task": "task", "seed": "seed"})

    def fit_step(_: Any) -> None:
        controls["step"].max = max(len(steps(panel.values)) - 1, 1)

    def new_task(change: Any) -> None:
        controls["stage"].options = explorer.stages(change["new"])
        controls["sample"].max = len(explorer.sources[change["new"]]) - 1
        fit_step(change)

    panel.before("task", new_task)
    for name in ("stage", "sample", "seed"):
        panel.before(name, fit_step)
    if stage is not None:
        panel.assign(stage=stage)
    fit_step(None)
    panel.assign(step=step)
    return panel


def _width(pixels: int) -> widgets.Layout:
    return widgets.Layout(width=f"{pixels}px")
