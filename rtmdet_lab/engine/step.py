"""What happens to each batch: forward pass, losses, backward pass, and every few batches an update of the weights.

The loop calls this for every batch; :mod:`rtmdet_lab.experiment.verify` calls the same code before a run, to see what
settings do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rtmdet_lab.config.presets import STRIDES
from rtmdet_lab.config.settings import ExperimentConfig, TrainConfig
from rtmdet_lab.core.distributed import world_size
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.core.structures import Targets
from rtmdet_lab.engine.ema import ModelEMA
from rtmdet_lab.engine.evaluate import autocast
from rtmdet_lab.engine.optimizer import build_optimizer
from rtmdet_lab.engine.schedule import lr_factor
from rtmdet_lab.engine.state import TrainState
from rtmdet_lab.layers.batch_norm import set_norm_eval
from rtmdet_lab.tasks.base import Task


def first_state(config: ExperimentConfig, model: nn.Module, device: torch.device) -> TrainState:
    """Returns the state of a run before its first step; ``model`` is the one that is trained."""
    train = config.train
    ema = ModelEMA(model, train.ema_momentum, train.ema_gamma) if train.ema else None
    scaler = torch.amp.GradScaler(device.type) if train.amp == "fp16" else None
    return TrainState(config, model, ema, build_optimizer(model, train), scaler)


def set_training(model: nn.Module, norm_eval: bool) -> None:
    """Puts a model into training mode, its batch norm excepted where that is frozen."""
    model.train()
    if norm_eval:
        set_norm_eval(model)


def forward_backward(
    task: Task, network: nn.Module, images: Tensor, targets: Sequence[Targets], state: TrainState, group: int = 1
) -> dict[str, Tensor]:
    """Adds the gradients of a batch to the weights' and returns its losses by name, detached.

    Args:
        network: the task's model, or what wraps it.
        images: (B, 3, H, W) normalised.
        group: batches that share an update.
    """
    train = state.config.train
    if train.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    _refuse_single_values(state.model, images)
    with autocast(images.device, train.amp):
        predictions = network(images)
    losses = task.criterion(predictions, targets)
    total = torch.stack(list(losses.values())).sum() / group
    (state.scaler.scale(total) if state.scaler else total).backward()
    return {name: value.detach() for name, value in losses.items()}


def _refuse_single_values(model: nn.Module, images: Tensor) -> None:
    """Raises SettingError where the coarsest map has one value per channel, of which batch norm can take no variance."""
    values = len(images) * world_size() * math.prod(-(-side // STRIDES[-1]) for side in images.shape[2:])
    if values == 1 and any(isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training for part in model.modules()):
        raise SettingError(
            f"a batch of one image of {images.shape[3]} x {images.shape[2]} pixels leaves batch norm a single value per "
            "channel: raise train.batch_size or augment.input_size, or keep batch norm fixed (train.norm_eval=true)"
        )


def learning_rate(train: TrainConfig, step: int, total_steps: int) -> float:
    """Returns the learning rate of an optimizer step (from 0) of a run."""
    return train.lr * lr_factor(step, total_steps, train)


def update_weights(state: TrainState, total_steps: int) -> float:
    """Updates weights and average from the gradients; returns the learning rate that was used."""
    train = state.config.train
    lr = learning_rate(train, state.step, total_steps)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    if train.grad_clip is not None:
        if state.scaler:
            state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(state.model.parameters(), train.grad_clip)
    if state.scaler:
        state.scaler.step(state.optimizer)
        state.scaler.update()
    else:
        state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    if state.ema is not None:
        state.ema.update(state.model)
    return lr
