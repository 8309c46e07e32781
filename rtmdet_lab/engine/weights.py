"""The weights a run starts from, and the weight files of its folder: what they are called, and which there are."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import nn

from rtmdet_lab.config.settings import ExperimentConfig, TrainConfig
from rtmdet_lab.engine.schedule import is_validated
from rtmdet_lab.models.checkpoints import RUN_WEIGHTS, load_checkpoint

BEST_NAME, LAST_NAME = RUN_WEIGHTS
KEPT_NAME = "epoch-{:04d}.safetensors"  # of ``train.keep_every``: weights after so many epochs


class Start(NamedTuple):
    """Where a run's first weights come from."""

    source: str = ""  # path, URL or published name; empty: drawn from the seed
    backbone_only: bool = False
    reset_predictors: bool = False  # leave the class predictors out


def starting_weights(config: ExperimentConfig) -> Start:
    """Returns where the first weights of a run come from; named weights take the place of a pretrained backbone."""
    if config.train.init_weights:
        return Start(config.train.init_weights, reset_predictors=config.train.reset_predictors)
    backbone = config.model.pretrained_backbone
    if backbone:
        return Start(f"cspnext-{config.model.size}-imagenet" if backbone is True else backbone, backbone_only=True)
    return Start()


def kept_weights(out_dir: Path) -> dict[int, Path]:
    """Returns the weight files that ``train.keep_every`` left in a run's folder, by epochs done, the first one first."""
    paths = {}
    for path in out_dir.glob("epoch-*.safetensors"):
        number = path.stem.removeprefix("epoch-")
        if number.isdecimal() and path.name == KEPT_NAME.format(int(number)):
            paths[int(number)] = path
    return dict(sorted(paths.items()))


def scored_epochs(train: TrainConfig) -> list[int]:
    """Returns the epochs (from 0) whose weights may be those a run is scored with; ``train`` must be resolved.

    One for the last weights, all that are validated for the best.
    """
    if train.score_of == "last":
        return [train.epochs - 1]
    return [epoch for epoch in range(train.epochs) if is_validated(epoch, train)]


def load_scored(train: TrainConfig, weights: nn.Module, out_dir: Path, model: nn.Module) -> None:
    """Puts the weights a run is scored with into ``model``: its last averaged ones, ``weights``, or the best ones.

    The last ones stand for the best where those are gone.
    """
    if len(scored_epochs(train)) > 1 and (out_dir / BEST_NAME).exists():
        load_checkpoint(model, out_dir / BEST_NAME)
    else:
        model.load_state_dict(weights.state_dict())
    model.eval()
