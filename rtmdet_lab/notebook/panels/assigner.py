"""The assigner explorer: one object at one moment of a training, the costs of its points, and what each term decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

import ipywidgets as widgets
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms import v2

from rtmdet_lab.assigners.dynamic import Explanation
from rtmdet_lab.assigners.factory import ASSIGNERS, build_assigner
from rtmdet_lab.config.settings import AssignerConfig
from rtmdet_lab.core.errors import CheckpointError, DataError, SettingError
from rtmdet_lab.core.structures import DensePredictions, Targets
from rtmdet_lab.data.loaders import Batch, PipelineDataset, SampleKey, Source, collate
from rtmdet_lab.engine.load import task_from_checkpoint
from rtmdet_lab.engine.weights import BEST_NAME, kept_weights
from rtmdet_lab.geometry.box_kind import ROTATED, kind_of
from rtmdet_lab.notebook.panels.panel import Panel, View, html_table
from rtmdet_lab.tasks.base import Task
from rtmdet_lab.transforms.masks import FillPolygons
from rtmdet_lab.transforms.normalize import normalize
from rtmdet_lab.transforms.pipelines import test_pipeline
from rtmdet_lab.viz.matching import Matching, plot_history_of_points, plot_matching

PUBLISHED = AssignerConfig()
COSTS = ("cls_cost", "iou_cost", "center_cost")
LEGEND = (
    '<div style="font-size:12px;color:#555">Light cells are good, grey ones no candidates; ranges are those of the 20 best '
    "points. Small dots are candidates, white ones kept, green ones won, red crosses lost against the other assigner; "
    "orange rings were chosen, but are cheaper for another object.</div>"
)


def moments_of(run: str | Path) -> dict[str, Path]:
    """Returns the weight files of a run's training moments by what to call them, the earliest first.

    Raises:
        CheckpointError: the folder holds none.
    """
    run = Path(run)
    kept = {f"epoch {epoch}" if epoch else "untrained": path for epoch, path in kept_weights(run).items()}
    if not kept and (run / BEST_NAME).exists():
        kept = {"best": run / BEST_NAME}
    if not kept:
        raise CheckpointError(f"{run} holds no weights of a training: train there with train.keep_every set to 1 or more")
    return kept


@dataclass
class AssignerExplorer:
    """Images, predictions at each moment, and matchings; each computed once.

    Args:
        moments: weight files of one run by name, as :func:`moments_of` finds them.
        source: a data set with classes that the run knows, in any order.
        limit: images that can be chosen.
    """

    moments: Mapping[str, Path]
    source: Source
    limit: int = 50
    _tasks: dict[str, Task] = field(default_factory=dict, init=False)
    _batches: dict[int, Batch] = field(default_factory=dict, init=False)
    _predictions: dict[tuple[str, int], DensePredictions] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.task(next(iter(self.moments)))  # refuses a set with classes that the run does not know

    @property
    def count(self) -> int:
        return min(len(self.source), self.limit)

    def task(self, moment: str) -> Task:
        if moment not in self._tasks:
            self._tasks[moment] = task_from_checkpoint(self.moments[moment], classes=self.source.classes)
        return self._tasks[moment]

    def batch(self, image: int) -> Batch:
        """Returns an image and its objects on the network canvas, as a batch of one.

        Raises:
            DataError: an image that cannot be read.
        """
        if image not in self._batches:
            size = self.task(next(iter(self.moments))).config.augment.input_size
            pipeline = v2.Compose([*test_pipeline(size).transforms, FillPolygons(allow_empty=True)])
            dataset = PipelineDataset(self.source, pipeline, training=True)
            batch = collate([dataset[SampleKey(epoch=0, position=image, index=image)]])
            if batch.failure:
                raise DataError(batch.failure)
            self._batches[image] = batch
        return self._batches[image]

    def targets(self, image: int) -> Targets:
        return self.batch(image).targets[0].learnable()

    @torch.no_grad()
    def predictions(self, moment: str, image: int) -> DensePredictions:
        key = (moment, image)
        if key not in self._predictions:
            self._predictions[key] = self.task(moment).model(normalize(self.batch(image).images))
        return self._predictions[key]

    def explain(self, config: AssignerConfig, moment: str, image: int) -> Explanation | None:
        """Returns every intermediate of the assignment; None of an assigner without costs."""
        assigner = self._assigner(config, moment)
        if not hasattr(assigner, "explain"):
            return None
        return assigner.explain(self.predictions(moment, image), [self.targets(image)])

    def matching(self, config: AssignerConfig, moment: str, image: int) -> Matching:
        """Returns one image under the assigner of ``config``."""
        if kind_of(self.targets(image).boxes) is ROTATED and config.iou_cost == "giou":
            raise SettingError("iou cost giou is defined for upright boxes: choose log, linear or none")
        found = self.explain(config, moment, image)
        if found is not None:
            maps = {f"{name} cost": term[0] for name, term in found.terms.items()} | {"sum": found.cost[0]}
            index = found.assignment.gt_index[0]
            return Matching(maps, True, found.candidates[0], found.dynamic_k[0], found.selected[0], index)
        predictions, targets = self.predictions(moment, image), self.targets(image)
        geometry = self._assigner(config, moment).geometry
        found = self._assigner(config, moment)(predictions, [targets])
        boxes = targets.boxes if len(targets) else targets.boxes.new_zeros(1, predictions.boxes.shape[-1])
        inside = geometry.inside(predictions.priors.points, boxes.float())
        overlap = torch.where(inside, geometry.iou(boxes.float(), predictions.boxes[0].float()), torch.nan)
        return Matching({"IoU": overlap}, False, inside.any(dim=0), None, None, found.gt_index[0])

    def _assigner(self, config: AssignerConfig, moment: str) -> Any:
        learned = self.task(moment).assigner
        assert learned is not None, "the panel offers tasks with points alone"
        return build_assigner(config, learned.geometry)

    def view(self, config: AssignerConfig, against: AssignerConfig, moment: str, image: int, number: int) -> View:
        """Returns the pictures of one object and the table of all of them.

        Raises:
            DataError: an image without objects.
        """
        targets = self.targets(image)
        if not len(targets):
            raise DataError(f"image {image} of {self.source.title} has no objects: choose another one")
        now, before = (self.matching(one, moment, image) for one in (config, against))
        number = min(number, len(targets) - 1)
        priors = self.predictions(moment, image).priors
        figure = plot_matching(self.batch(image).images[0], targets, self.source.classes, priors, number, now, before)
        return View(figure, _table(targets, self.source.classes, number, now, before) + LEGEND)

    def history(self, image: int, moments: Sequence[str], kinds: Sequence[str]) -> Figure:
        """Returns the points that learn, a row per moment and a column per kind of assigner."""
        rows: dict[str, dict[str, Tensor]] = {}
        for moment in moments:
            rows[moment] = {
                kind: self.matching(AssignerConfig(kind=kind), moment, image).gt_index  # type: ignore[arg-type]
                for kind in kinds
            }
        priors = self.predictions(moments[0], image).priors
        return plot_history_of_points(self.batch(image).images[0], self.targets(image), self.source.classes, priors, rows)


def _table(targets: Targets, classes: Sequence[str], number: int, now: Matching, before: Matching) -> str:
    rows = []
    for index, label in enumerate(targets.labels.tolist()):
        mine, was = now.gt_index == index, before.gt_index == index
        rows.append(
            [
                f"{index}: {classes[label]}",
                "-" if now.dynamic_k is None else str(int(now.dynamic_k[index])),
                "-" if before.dynamic_k is None else str(int(before.dynamic_k[index])),
                str(int(mine.sum())),
                str(int(was.sum())),
                str(int((mine & ~was).sum())),
                str(int((was & ~mine).sum())),
                "-" if now.selected is None else str(int((now.selected[index] & ~mine).sum())),
            ]
        )
    header = ["object", "k", "k before", "points", "points before", "won", "lost", "lost in conflicts"]
    return html_table(header, rows, strong=[number])


def assigner_panel(
    explorer: AssignerExplorer,
    image: int = 0,
    number: int = 0,
    moment: str | None = None,
    assigner: Mapping[str, Any] | None = None,
    against: str = PUBLISHED.kind,
) -> Panel:
    """Returns the panel: image, object, moment; one assigner with its terms, compared with another kind.

    Args:
        image, number: of the source, and of the image's objects.
        moment: by default the last one.
        assigner: settings of :class:`AssignerConfig` to begin with.
        against: kind of the assigner to compare with, as published.

    Raises:
        SettingError, UnknownNameError: a beginning that there is not.
    """
    if not 0 <= image < explorer.count:
        raise SettingError(f"image is {image}, but must be from 0 to {explorer.count - 1}")
    kinds = list(ASSIGNERS)
    moments = list(explorer.moments)
    controls: dict[str, widgets.Widget] = {
        "image": widgets.BoundedIntText(image, min=0, max=explorer.count - 1, description="image", layout=_width(140)),
        "object": widgets.Dropdown(options=_objects(explorer, image), description="object", layout=_width(230)),
        "moment": widgets.SelectionSlider(
            options=moments, value=moments[-1], description="moment", continuous_update=False, layout=_width(380)
        ),
        "kind": widgets.Dropdown(options=kinds, description="assigner", layout=_width(250)),
        **{name: _cost_control(name) for name in COSTS},
        "against": widgets.Dropdown(options=kinds, description="against", layout=_width(250)),
    }

    def draw(**values: Any) -> View:
        chosen = AssignerConfig(kind=values["kind"])
        if values["kind"] == PUBLISHED.kind:
            chosen = AssignerConfig(**{name: values[name] for name in COSTS})
        view = explorer.view(
            chosen, AssignerConfig(kind=values["against"]), values["moment"], values["image"], values["object"] or 0
        )
        return view

    rows = [["image", "object", "moment"], ["kind", *COSTS, "against"]]
    panel = Panel(controls, rows, draw, {name: f"assigner.{name}" for name in ("kind", *COSTS)})

    def new_image(change: Any) -> None:
        with panel.held():
            controls["object"].options = _objects(explorer, change["new"])

    def new_kind(change: Any) -> None:
        for name in COSTS:  # the other kinds have fixed rules
            controls[name].disabled = change["new"] != PUBLISHED.kind

    panel.before("image", new_image)
    panel.before("kind", new_kind)
    settings = dict(assigner or {})
    begin = {"moment": moment} if moment is not None else {}
    panel.assign(object=number, against=against, **begin, **settings)
    return panel


def _objects(explorer: AssignerExplorer, image: int) -> list[tuple[str, int]]:
    targets = explorer.targets(image)
    names = [explorer.source.classes[label] for label in targets.labels.tolist()]
    boxes = targets.boxes
    sides = kind_of(boxes).sides(boxes).tolist()
    return [
        (f"{index}: {name}, {width:.0f} x {height:.0f}", index)
        for index, (name, (width, height)) in enumerate(zip(names, sides, strict=True))
    ]


def _cost_control(name: str) -> widgets.Dropdown:
    options = get_args(get_type_hints(AssignerConfig)[name])
    return widgets.Dropdown(options=options, description=name.replace("_", " "), layout=_width(180))


def _width(pixels: int) -> widgets.Layout:
    return widgets.Layout(width=f"{pixels}px")
