"""Optimizer and its parameter groups (paper.md 3.2)."""

from __future__ import annotations

import torch
from torch import nn

from rtmdet_lab.config.settings import TrainConfig


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Returns the optimizer with two groups: decayed weights, and norm parameters and biases without decay.

    A parameter shared by several modules is registered once. ``config.lr`` must be set (see ``presets.resolve``).
    """
    return OPTIMIZERS[config.optimizer](parameter_groups(model, config), config)


def _adamw(groups: list[dict], config: TrainConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.adam_betas, eps=config.adam_eps, fused=True)


def _sgd(groups: list[dict], config: TrainConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0, fused=True)


OPTIMIZERS = {"adamw": _adamw, "sgd": _sgd}


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict]:
    """Returns the decayed and the undecayed group; empty ones are left out."""
    norm_parameters = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for parameter in module.parameters(recurse=False)
    }
    decayed, undecayed = [], []
    for name, parameter in model.named_parameters():  # visits a shared parameter once
        if not parameter.requires_grad:
            continue
        exempt = id(parameter) in norm_parameters or name.endswith(".bias")
        (undecayed if exempt and not config.decay_norm_and_bias else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": undecayed, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
