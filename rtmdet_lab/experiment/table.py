"""Tables of the paper as data: rows of settings, published numbers, and what can be compared without training.

One file in ``experiments/`` holds one table. Rows are mappings from dotted setting names to values, applied to a common
base; no code depends on which experiment runs. Parameters and multiply-adds of every row are measured and compared with
the printed ones, which checks the wiring of each row.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rtmdet_lab.analysis.complexity import measure_complexity
from rtmdet_lab.config.aliases import current_names
from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.recipes import with_scaled_weak_epochs
from rtmdet_lab.config.resolved import ResolvedConfig
from rtmdet_lab.config.settings import ExperimentConfig, ModelConfig
from rtmdet_lab.core.errors import DataError, SettingError, UnknownNameError, did_you_mean
from rtmdet_lab.core.shipped import shipped_folder
from rtmdet_lab.experiment.old_names import OLD_NAMES, takes_old_names
from rtmdet_lab.experiment.scale import SCALES, Scale, ScaleName
from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.tasks.factory import build_network

EXPERIMENTS_FOLDER = shipped_folder("experiments")
# Scores beside AP, by their name in a record, and what a table calls them.
SCORES = {"AP50": "AP50", "AP75": "AP75", "box_AP": "box AP", "area_AP50": "AP50 by area"}
MACS_TOLERANCE = 0.005  # printed counts differ in what they count beside convolutions


@dataclass(frozen=True)
class Comparison:
    """One part of a claim that measured numbers can support or contradict: one row is better than another, or as good.

    Args:
        row: the row that is said to be better.
        than: the one it is better than.
        metric: "AP", more is better; or "load_ms", the milliseconds to load 100 images, less is better.
        at_least_as_good: the claim is that ``row`` is not worse by more than ``margin``.
        margin: what still counts as equal, AP from 0 to 1.
    """

    row: str
    than: str
    metric: Literal["AP", "load_ms"] = "AP"
    at_least_as_good: bool = False
    margin: float = 0.005

    def __post_init__(self) -> None:
        if self.metric not in ("AP", "load_ms"):
            raise SettingError(f"a comparison's metric is {self.metric!r}, but must be AP or load_ms")
        if self.metric == "load_ms" and self.at_least_as_good:
            raise SettingError("a comparison of load_ms says which row is faster: leave at_least_as_good alone")

    @property
    def text(self) -> str:
        """What is claimed, in words."""
        if self.metric == "load_ms":
            return f"{self.row} loads faster than {self.than}"
        relation = (
            f"at least as good as (within {100 * self.margin:g} points of AP)" if self.at_least_as_good else "better than"
        )
        return f"{self.row} is {relation} {self.than}"


@dataclass(frozen=True)
class Table:
    """One table or figure.

    Args:
        title: what the paper calls it.
        claim: the sentence the rows are meant to support.
        base: what all rows have in common.
        rows: row name to overrides of the base.
        published: row name to printed numbers, as text, because "50.80" says more than 50.8: ``AP``, ``params_M``,
            ``macs_G`` (printed as FLOPs), ``latency_ms``, ``load_ms`` (per 100 images), and further scores (:data:`SCORES`).
        source: where those were read, and how far to trust them.
        input_size: pixels at which multiply-adds were published.
        macs_settings: overrides under which multiply-adds are counted, where the published count was made otherwise.
        notes: row name to number name to why the printed one is known to differ, for the misprints.
        not_run: rows that the paper printed and that no settings build: name to reason. They may have published numbers.
        comparisons: what the claim says about pairs of rows.
        peers: what other detectors state of themselves: series to model to numbers.
        scales: scales that differ from those of the task (:mod:`rtmdet_lab.experiment.scale`), by name.

    Raises:
        SettingError: rows that build the same run, or numbers of a row that does not exist.
        UnknownNameError, SettingTypeError: an override that is no setting, or of another type.
    """

    title: str
    claim: str
    base: ExperimentConfig
    rows: Mapping[str, Mapping[str, Any]]
    published: Mapping[str, Mapping[str, str]]
    source: str
    input_size: int = 640
    macs_settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    not_run: Mapping[str, str] = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()
    peers: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    scales: Mapping[ScaleName, Scale] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Names of today, for all who look a setting up in a row.
        object.__setattr__(self, "rows", {row: current_names(overrides) for row, overrides in self.rows.items()})
        self._check_rows("", self.config)
        both = [row for row in self.not_run if row in self.rows]
        if both:
            raise SettingError(f"row {both[0]!r} is among rows and not_run: name it once")
        compared = {row for comparison in self.comparisons for row in (comparison.row, comparison.than)}
        for parts, known in (((self.published, self.notes), {**self.rows, **self.not_run}), ((compared,), self.rows)):
            for row in [row for part in parts for row in part if row not in known]:
                raise SettingError(f"numbers of row {row!r}, which does not exist: rows are {', '.join(known)}")

    if not TYPE_CHECKING:  # a checker knows the names of today alone

        def __getattr__(self, name: str) -> Any:
            if name not in OLD_NAMES:
                raise AttributeError(f"a table has no {name!r}")
            return getattr(self, OLD_NAMES[name])

    def _check_rows(self, where: str, config_of: Callable[[str], ExperimentConfig], skip: Collection[str] = ()) -> None:
        seen: list[tuple[str, ExperimentConfig]] = []
        for row in self.rows:
            if row in skip:
                continue
            try:
                config = config_of(row)
            except (SettingError, UnknownNameError, TypeError) as error:
                raise type(error)(f"{where}row {row!r}: {error.args[0]}") from None
            for name, other in seen:
                if config == other:
                    raise SettingError(
                        f"{where}rows {name!r} and {row!r} build the same run: remove one or change its settings"
                    )
            seen.append((row, config))

    def scale(self, name: ScaleName) -> Scale:
        """Returns a scale of this table: its own, or that of its task. What the rows vary, it leaves alone."""
        varied = {setting for overrides in self.rows.values() for setting in overrides}
        return (self.scales.get(name) or SCALES[self.base.task][name]).leaving_alone(varied)

    def check_scale(self, name: ScaleName) -> None:
        """Raises SettingError where rows cannot run at a scale, or would build the same run there."""
        self._check_rows(f"scale {name!r}, ", lambda row: self.config(row, name), self.scale(name).skip)

    def config(self, row: str, scale: ScaleName = "paper", overrides: Mapping[str, Any] | None = None) -> ResolvedConfig:
        """Returns the resolved config of a row, scaled down.

        Args:
            overrides: settings changed on top.

        Raises:
            UnknownNameError: no such row.
            SettingError: a row that the paper printed and that cannot be built here.
        """
        if row in self.not_run:
            raise SettingError(f"row {row!r} cannot be run: {self.not_run[row]}")
        if row not in self.rows:
            hint = f"{did_you_mean(row, self.rows)} rows are {', '.join(self.rows)}".lstrip()
            raise UnknownNameError(f"no row {row!r}: {hint}")
        return self.scaled(with_scaled_weak_epochs(self.base, self.rows[row]), scale, overrides)

    def scaled(
        self, config: ExperimentConfig, scale: ScaleName, overrides: Mapping[str, Any] | None = None
    ) -> ResolvedConfig:
        """Returns a config of this table, not resolved yet, scaled down, with overrides on top."""
        return self.scale(scale).apply(config, overrides, pretrained=self.backbones_are_published)

    @property
    def backbones_are_published(self) -> bool:
        """Whether every row builds a backbone that the published ImageNet weights fit.

        Where one does not, none starts from them: rows must not differ in their start as well.
        """
        published = ModelConfig()
        for overrides in self.rows.values():
            model = with_overrides(self.base, overrides).model
            usual = dataclasses.replace(published, size=model.size, num_classes=model.num_classes)
            parts = ("block", "kernel_size", "depth", "width", "depthwise", "backbone")
            if any(getattr(model, part) != getattr(usual, part) for part in parts):
                return False
        return True


Table.__init__ = takes_old_names(item="title", budgets="scales")(Table.__init__)  # type: ignore[method-assign]
PaperItem = Table


def table_names() -> list[str]:
    """Returns the names of the tables that came with the package."""
    return sorted(path.stem for path in EXPERIMENTS_FOLDER.glob("*.py") if not path.name.startswith("."))


def load_table(source: str | Path) -> Table:
    """Returns the ``TABLE`` of an experiment file: a name such as "kernel_size", or the path of one's own file.

    The file is Python and runs: load only what you would run.

    Raises:
        UnknownNameError: no such name; the nearest one is suggested.
        DataError: a file that cannot be run, or without ``TABLE``.
    """
    path = Path(source)
    if path.suffix != ".py":
        path = EXPERIMENTS_FOLDER / f"{source}.py"
        if not path.is_file():
            known = ", ".join(table_names()) or "none"
            hint = did_you_mean(str(source), table_names())
            raise UnknownNameError(f"no experiment {str(source)!r}: {f'{hint} known are {known}'.lstrip()}")
    if not path.is_file():
        raise DataError(f"experiment file {path} does not exist: check the path")
    spec = importlib.util.spec_from_file_location(f"_experiment_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses defined in the file look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise DataError(f"experiment file {path} stops with {type(error).__name__}: {error}") from error
    finally:
        sys.modules.pop(spec.name, None)
    table = getattr(module, "TABLE", None) or getattr(module, "ITEM", None)
    if not isinstance(table, Table):
        raise DataError(f"experiment file {path} has no TABLE = Table(...): add it")
    return table


load_experiment = load_table


@dataclass(frozen=True)
class StaticNumber:
    """A printed number beside the measured one."""

    row: str
    name: str  # "params_M" or "macs_G"
    published: str
    measured: float
    verdict: str  # "equal" to the printed digit, "within 0.5 %", "known difference", "differs"
    note: str = ""


def compare_static(table: Table) -> list[StaticNumber]:
    """Returns the published parameters and multiply-adds of every row beside those of the network it builds."""
    results = []
    for row, numbers in table.published.items():
        if row in table.not_run or not {"params_M", "macs_G"} & set(numbers):
            continue
        config = table.config(row)
        cost = measure_complexity(_network(config), table.input_size)
        counted = with_overrides(config, table.macs_settings)
        macs = measure_complexity(_network(counted), table.input_size) if table.macs_settings else cost
        measured = {"params_M": cost.params_M, "macs_G": macs.macs_G}
        for name in measured:
            if name in numbers:
                note = table.notes.get(row, {}).get(name, "")
                verdict = _verdict(name, numbers[name], measured[name], note)
                results.append(StaticNumber(row, name, numbers[name], measured[name], verdict, note))
    return results


def _network(config: ResolvedConfig) -> RTMDet:
    import torch

    with torch.device("meta"):  # nothing is drawn and no memory used
        return build_network(config.task, config.model)


def _verdict(name: str, published: str, measured: float, note: str) -> str:
    step = Decimal(1).scaleb(Decimal(published).as_tuple().exponent)  # of the last printed digit
    if abs(Decimal(measured) - Decimal(published)) <= step / 2:
        return "equal"
    if name == "macs_G" and abs(measured - float(published)) <= MACS_TOLERANCE * float(published):
        return "within 0.5 %"
    return "known difference" if note else "differs"
