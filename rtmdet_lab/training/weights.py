"""The weight files of a run's folder: what they are called, and which there are."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from rtmdet_lab.models.checkpoints import load_checkpoint

BEST_NAME, LAST_NAME = "best.safetensors", "last.safetensors"
KEPT_NAME = "epoch-{:04d}.safetensors"  # of ``train.keep_every``: weights after so many epochs


def kept_weights(out_dir: Path) -> dict[int, Path]:
    """Returns the weight files that ``train.keep_every`` left in a run's folder, by epochs done, the first one first."""
    found = {}
    for path in out_dir.glob("epoch-*.safetensors"):
        number = path.stem.removeprefix("epoch-")
        if number.isdecimal() and path.name == KEPT_NAME.format(int(number)):
            found[int(number)] = path
    return dict(sorted(found.items()))


def load_best(weights: nn.Module, out_dir: Path, model: nn.Module) -> None:
    """Puts the best weights of the run into ``model``; the last ones where nothing was validated."""
    if (out_dir / BEST_NAME).exists():
        load_checkpoint(model, out_dir / BEST_NAME)
    else:
        model.load_state_dict(weights.state_dict())
    model.eval()
