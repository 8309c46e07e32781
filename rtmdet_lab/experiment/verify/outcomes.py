"""What two configs are compared in. Each function says whether one kind of outcome differs; none reads a setting's value
to compare it: all go through the parts that a run is made of."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator
from itertools import islice, zip_longest
from typing import Any

import torch
from torch import Tensor

from rtmdet_lab.assigners.dynamic import DynamicAssigner
from rtmdet_lab.config.resolved import ResolvedConfig
from rtmdet_lab.config.settings import DataConfig
from rtmdet_lab.data.loaders import PipelineDataset, Source
from rtmdet_lab.engine.schedule import is_validated, learning_rate
from rtmdet_lab.engine.stages import plan_stages, training_order
from rtmdet_lab.engine.step import TrainStep
from rtmdet_lab.engine.weights import scored_epochs, starting_weights
from rtmdet_lab.experiment.verify.detections import detections_differ
from rtmdet_lab.experiment.verify.stimuli import CLASSES, DrawnSource, drawn_predictions, drawn_targets
from rtmdet_lab.tasks.factory import build_task
from rtmdet_lab.transforms.normalize import normalize

Open = Callable[[ResolvedConfig], Source]

SAMPLES = 600  # per stage: what is less often than that changes nothing that shows
SIDE = 64  # pixels of the canvas that samples are drawn on where the canvas is not what differs
MOMENTS = ((0.0, 1e-3), (0.1, 1.0), (0.5, 1e3), (0.999, 1e6))  # of the run, and how gradients are scaled there
CPU = torch.device("cpu")


def network_differs(one: ResolvedConfig, other: ResolvedConfig, open_source: Open) -> bool:
    """Compares the structure of the networks: tensors, which of them are shared, and modules."""
    return (one.task, one.model) != (other.task, other.model) and _structure(one) != _structure(other)


def _structure(config: ResolvedConfig) -> Any:
    with torch.device("meta"):  # nothing is drawn and no memory used
        model = build_task(config).model
    tensors, owners = model.state_dict(keep_vars=True), {}
    for name, tensor in tensors.items():
        owners.setdefault(id(tensor), name)
    modules = [(name, type(module).__name__, module.extra_repr()) for name, module in model.named_modules()]
    return [(name, tensor.shape, owners[id(tensor)]) for name, tensor in tensors.items()], modules


def plan_differs(one: ResolvedConfig, other: ResolvedConfig, open_source: Open) -> bool:
    """Compares the course of the runs: starting weights, stages, steps, learning rates, validations."""
    length = len(open_source(one))
    return _plan(one, length) != _plan(other, length)


def _plan(config: ResolvedConfig, length: int) -> Any:
    train = config.train
    batches = len(training_order(config, length))
    steps = train.epochs * math.ceil(batches / train.gradient_accumulation_steps)
    rates = [learning_rate(train, step, steps) for step in {*range(min(steps, 5000)), *range(0, steps, steps // 5000 + 1)}]
    stages = [(stage.name, stage.epochs) for stage in plan_stages(_without_data(config), _drawn_source(config, length))]
    validated = [epoch for epoch in range(train.epochs) if is_validated(epoch, train)]
    return starting_weights(config), batches, steps, rates, stages, validated, scored_epochs(train)


def samples_differ(one: ResolvedConfig, other: ResolvedConfig, open_source: Open) -> bool:
    """Compares the training samples of each stage's first epoch, those one loader process draws."""
    if _drawn_from(one) == _drawn_from(other):
        return False
    length = len(open_source(one))
    if one.augment.input_size == other.augment.input_size:
        one, other = (
            dataclasses.replace(config, augment=dataclasses.replace(config.augment, input_size=SIDE))
            for config in (one, other)
        )
    # Sizes of caches show once the smaller one is full.
    count = SAMPLES + min(max(config.augment.mosaic_cache or 0, config.augment.mixup_cache or 0) for config in (one, other))
    return any(a != b for a, b in zip_longest(_samples(one, length, count), _samples(other, length, count)))


def _drawn_from(config: ResolvedConfig) -> tuple[Any, ...]:
    train = config.train
    return (
        config.task,
        config.augment,
        config.data,
        train.epochs,
        train.weak_epochs,
        train.batch_size,
        train.workers,
        config.seed,
    )


def _samples(config: ResolvedConfig, length: int, count: int) -> Iterator[Any]:
    source = _drawn_source(config, length)
    for stage in plan_stages(_without_data(config), source):
        order = training_order(config, length)
        order.epoch = stage.first_epoch
        dataset = PipelineDataset(stage.source, stage.pipeline, training=True, seed=config.seed)
        own = (key for batch in islice(order, 0, None, max(config.train.workers, 1)) for key in batch)
        for key in islice(own, count):
            sample, _, failure = dataset[key]
            yield failure or (key.position, _print_of(sample))


def teaching_differs(one: ResolvedConfig, other: ResolvedConfig, open_source: Open) -> bool:
    """Compares assigned targets, losses and their gradients for the same predictions."""
    parts = [(config.task, config.assigner, config.loss) for config in (one, other)]
    if parts[0] == parts[1]:
        return False
    images = 2 + min(config.loss.mask_positives or 0 for config in (one, other)) // 20
    return _teaching(one, min(images, 32)) != _teaching(other, min(images, 32))


def _teaching(config: ResolvedConfig, images: int) -> Any:
    side = 2 * SIDE
    targets = drawn_targets(config.task, side, images)
    predictions = drawn_predictions(config.task, targets, side)
    with torch.device("meta"):
        task = build_task(_narrow(config))
    shown = predictions.detach()
    parts = (shown.logits, shown.boxes, shown.kernels, shown.mask_features)
    learned = [part.requires_grad_() for part in parts if part is not None]
    torch.manual_seed(config.seed)
    losses = task.criterion(shown, targets)
    gradients = torch.autograd.grad(sum(losses.values()), learned)
    cost = [task.assigner.explain(predictions, targets).cost] if isinstance(task.assigner, DynamicAssigner) else []
    return _print_of([task.assigner(predictions, targets), losses, gradients, cost])


def updates_differ(one: ResolvedConfig, other: ResolvedConfig, open_source: Open) -> bool:
    """Compares a batch's losses and gradients in a narrow network, and weights and average after updates with them."""
    parts = [(config.task, config.model, config.assigner, config.loss, config.train, config.seed) for config in (one, other)]
    return parts[0] != parts[1] and _updates(one, len(open_source(one))) != _updates(other, len(open_source(one)))


def _updates(config: ResolvedConfig, length: int) -> list[Any]:
    config = _narrow(config)
    train = config.train
    targets = drawn_targets(config.task, SIDE)
    torch.manual_seed(config.seed)
    pixels = torch.randint(0, 256, (len(targets), 3, SIDE, SIDE), dtype=torch.uint8)
    task = build_task(config)
    step = TrainStep(task, batches=len(training_order(config, length)))
    state = step.state
    losses = step.forward(normalize(pixels), targets)
    step.backward(losses, train.gradient_accumulation_steps)
    outcome: list[Any] = [losses]
    gradients = {name: weight.grad.clone() for name, weight in task.model.named_parameters() if weight.grad is not None}
    outcome.append(gradients)
    for share, scale in MOMENTS:
        for name, weight in task.model.named_parameters():
            weight.grad = gradients[name] * scale if name in gradients else None
        state.step = int(share * step.total_updates)
        if state.ema is not None:
            state.ema.steps = state.step
        step.update()
        outcome.append((state.optimizer.param_groups[0]["lr"], task.model.state_dict(), state.weights.state_dict()))
    return [_print_of(part) for part in outcome]


def data_differ(one: ResolvedConfig, other: ResolvedConfig, open_source: Open) -> bool:
    """Compares the training sets: which images, and the first of them as they are read."""
    return one.data != other.data and _data(one, open_source(one)) != _data(other, open_source(other))


def _data(config: ResolvedConfig, source: Source) -> Any:
    source = plan_stages(config, source)[0].source
    first = [source.load(index) for index in range(min(len(source), 8))]
    files = [path for path, _ in source.image_files()] if hasattr(source, "image_files") else []
    return len(source), source.classes, files, _print_of(first)


def _drawn_source(config: ResolvedConfig, length: int) -> DrawnSource:
    return DrawnSource(config.task, length, config.data.classes or [str(label) for label in range(CLASSES)])


def _without_data(config: ResolvedConfig) -> ResolvedConfig:
    return dataclasses.replace(config, data=DataConfig(repeat=config.data.repeat, classes=config.data.classes))


def _narrow(config: ResolvedConfig) -> ResolvedConfig:
    """Returns a config whose network is as small as its kind can be: what its size changes shows in its structure."""
    model = dataclasses.replace(config.model, width=0.125, depth=0.167, num_classes=CLASSES)
    train = dataclasses.replace(config.train, compile=False)
    return dataclasses.replace(config, model=model, train=train, data=dataclasses.replace(config.data, classes=None))


def _print_of(value: Any) -> bytes:
    """Returns a fingerprint of nested containers and records of tensors, to the last bit."""
    digest = hashlib.blake2b(digest_size=16)

    def add(part: Any) -> None:
        if isinstance(part, Tensor):
            plain = part.detach().contiguous()
            digest.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
            digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
        elif isinstance(part, dict):
            for name, inner in part.items():
                digest.update(str(name).encode())
                add(inner)
        elif isinstance(part, (list, tuple)):
            for inner in part:
                add(inner)
        elif dataclasses.is_dataclass(part):
            add(vars(part))
        else:
            digest.update(repr(part).encode())

    add(value)
    return digest.digest()


# Cheap ones first.
OUTCOMES: tuple[Callable[[ResolvedConfig, ResolvedConfig, Open], bool], ...] = (
    plan_differs,
    network_differs,
    teaching_differs,
    detections_differ,
    updates_differ,
    data_differ,
    samples_differ,
)
