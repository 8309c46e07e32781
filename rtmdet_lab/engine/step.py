"""One training step: forward pass, losses, backward pass and, every few batches, an update of weights and average.

:class:`TrainStep` is what learns, whoever calls it: the loop (:mod:`rtmdet_lab.engine.loop`), the search for a batch that
fits and the forecast of memory and time, the check that settings have an effect, benchmarks, notebooks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from rtmdet_lab.config.presets import STRIDES
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.distributed import share_gradients, world_size
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.core.half_precision import autocast
from rtmdet_lab.core.structures import Targets
from rtmdet_lab.engine.ema import ModelEMA
from rtmdet_lab.engine.optimizer import build_optimizer
from rtmdet_lab.engine.schedule import learning_rate
from rtmdet_lab.engine.state import TrainState
from rtmdet_lab.layers.batch_norm import set_norm_eval, synchronise_norm
from rtmdet_lab.tasks.base import Task


class TrainStep:
    """The training step of a task; ``step(images, targets)`` learns one batch and returns its losses.

    ``train.gradient_accumulation_steps`` batches share an update of the weights; at the end of an epoch, those that are
    left. Under ``torchrun`` every process calls it with its share of each batch.

    Args:
        task: its model is moved to ``device`` and trained in place.
        batches: of an epoch; with ``train.epochs`` they say how far the learning rate's schedule is.
        norm_eval: keep batch norm in eval mode where ``train.norm_eval`` leaves it open (weights with folded norm).

    >>> import torch
    >>> from rtmdet_lab import ExperimentConfig, Targets, TrainStep, build_task, with_overrides
    >>> task = build_task(with_overrides(ExperimentConfig(), {"model.size": "nano", "model.num_classes": 2}))
    >>> step = TrainStep(task, batches=10)
    >>> losses = step(torch.zeros(2, 3, 64, 64), [Targets(torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([1]))] * 2)
    >>> sorted(losses), step.state.step
    (['loss_bbox', 'loss_cls'], 1)

    Attributes:
        state: model, average, optimizer and scaler, and how far they are; ``state.weights`` is the model to score.
        network: the model as it is called: compiled, or sharing its gradients with other processes.
    """

    def __init__(self, task: Task, batches: int, device: torch.device | str = "cpu", *, norm_eval: bool = False) -> None:
        device, train = torch.device(device), task.config.train
        self.task, self.batches = task, batches
        self.total_updates = train.epochs * math.ceil(batches / train.gradient_accumulation_steps)
        self.norm_eval = norm_eval if train.norm_eval is None else train.norm_eval
        model = task.model.to(device)
        if world_size() > 1:
            model = synchronise_norm(model, device)
        if train.channels_last:
            model = model.to(memory_format=torch.channels_last)
        self.state = _first_state(task.config, model, device)
        network = share_gradients(model, device) if world_size() > 1 else model
        self.network = torch.compile(network) if train.compile else network
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Puts the model into training mode, its batch norm excepted where that is frozen; validation ends that mode."""
        self.state.model.train()
        if self.norm_eval:
            set_norm_eval(self.state.model)

    def __call__(
        self,
        images: Tensor,
        targets: Sequence[Targets],
        after_backward: Callable[[dict[str, Tensor]], None] = lambda losses: None,
    ) -> dict[str, Tensor]:
        """Learns one batch and returns its losses by name, detached; their sum was minimised.

        Args:
            images: (B, 3, H, W), normalised (:func:`rtmdet_lab.transforms.normalize.normalize`), on the step's device.
            targets: one for each image, boxes in pixels of the network's input.
            after_backward: called with the losses before the weights may move; what it raises spares them.
        """
        if self.state.batch == self.batches:  # the caller counts no epochs
            self.state.epoch, self.state.batch = self.state.epoch + 1, 0
        first, size = self.group()
        is_last = self.state.batch + 1 == first + size
        with nullcontext() if is_last or world_size() == 1 else self.network.no_sync():
            losses = self.forward(images, targets)
            self.backward(losses, size)
        losses = {name: value.detach() for name, value in losses.items()}
        self.state.batch += 1
        after_backward(losses)
        if is_last:
            self.update()
        return losses

    def group(self) -> tuple[int, int]:
        """Returns the first of the batches that share the next update, counted in the epoch, and how many they are."""
        accumulate = self.task.config.train.gradient_accumulation_steps
        first = self.state.batch - self.state.batch % accumulate
        return first, min(accumulate, self.batches - first)

    @property
    def group_complete(self) -> bool:
        """Whether the last batch completed its group."""
        return self.done_batches() == self.state.batch

    def done_batches(self) -> int:
        """Returns the batches of the epoch that the weights have learned from: those of whole groups."""
        batch = self.state.batch
        return batch if batch == self.batches else batch - batch % self.task.config.train.gradient_accumulation_steps

    def forward(self, images: Tensor, targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Returns the weighted losses of a batch by name, with their graph."""
        train = self.task.config.train
        if train.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        _refuse_single_values(self.state.model, images)
        with autocast(images.device, train.amp):
            predictions = self.network(images)
        return self.task.criterion(predictions, targets)

    def backward(self, losses: dict[str, Tensor], group_size: int = 1) -> None:
        """Adds the gradients of a batch's losses, over the number of batches that share an update, to the weights'."""
        total, scaler = torch.stack(list(losses.values())).sum() / group_size, self.state.scaler
        (scaler.scale(total) if scaler else total).backward()

    def update(self) -> None:
        """Moves weights and average by the gradients and forgets these: clipping, scaler, optimizer, EMA."""
        state, train = self.state, self.task.config.train
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(train, state.step, self.total_updates)
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


def _first_state(config: ExperimentConfig, model: nn.Module, device: torch.device) -> TrainState:
    train = config.train
    ema = ModelEMA(model, train.ema_momentum, train.ema_gamma) if train.ema else None
    scaler = torch.amp.GradScaler(device.type) if train.amp == "fp16" else None
    return TrainState(config, model, ema, build_optimizer(model, train), scaler)


def _refuse_single_values(model: nn.Module, images: Tensor) -> None:
    """Raises SettingError where the coarsest map has one value per channel, of which batch norm can take no variance."""
    values = len(images) * world_size() * math.prod(-(-side // STRIDES[-1]) for side in images.shape[2:])
    if values == 1 and any(isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training for part in model.modules()):
        raise SettingError(
            f"a batch of one image of {images.shape[3]} x {images.shape[2]} pixels leaves batch norm a single value per "
            "channel: raise train.batch_size or augment.input_size, or keep batch norm fixed (train.norm_eval=true)"
        )
