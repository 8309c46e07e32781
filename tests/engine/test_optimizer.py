"""Parameter groups (paper.md 3.2)."""

from __future__ import annotations

import pytest
import torch
from made_runs import make_task
from torch import nn

from rtmdet_lab.config.settings import TrainConfig
from rtmdet_lab.engine.optimizer import build_optimizer, parameter_groups


class Small(nn.Module):
    """One of each kind: convolution with bias, norm, shared convolution, frozen weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.again = self.conv
        self.other_norm = nn.SyncBatchNorm(4)
        self.frozen = nn.Parameter(torch.zeros(2), requires_grad=False)


def names(model: nn.Module, groups: list[dict]) -> list[set[str]]:
    known = {id(parameter): name for name, parameter in model.named_parameters()}
    return [{known[id(parameter)] for parameter in group["params"]} for group in groups]


def test_norms_and_biases_are_not_decayed():
    model = Small()
    groups = parameter_groups(model, TrainConfig(weight_decay=0.05))
    decayed, undecayed = names(model, groups)
    assert decayed == {"conv.weight"}
    assert undecayed == {"conv.bias", "norm.weight", "norm.bias", "other_norm.weight", "other_norm.bias"}
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]


def test_all_are_decayed_on_request():
    model = Small()
    groups = parameter_groups(model, TrainConfig(decay_norm_and_bias=True))
    assert len(groups) == 1
    assert "norm.bias" in names(model, groups)[0]
    assert len(groups[0]["params"]) == 6


def test_parameter_of_several_modules_is_registered_once():
    groups = parameter_groups(Small(), TrainConfig())
    parameters = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(parameters) == len(set(parameters)) == 6


@pytest.mark.parametrize("size", ["nano", "tiny"])  # heads of their own per level, and shared ones
def test_every_weight_of_the_network_is_in_exactly_one_group(size):
    model = make_task(**{"model.size": size, "model.head.sharing": "convs" if size == "tiny" else "none"}).model
    groups = parameter_groups(model, TrainConfig())
    registered = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(registered) == sorted(id(parameter) for parameter in model.parameters())
    decayed, undecayed = names(model, groups)
    assert all(name.endswith("weight") and "bn" not in name for name in decayed)
    assert all(name.endswith("bias") or "bn" in name for name in undecayed)


def test_model_of_norms_only_has_one_group():
    groups = parameter_groups(nn.Sequential(nn.BatchNorm2d(3)), TrainConfig())
    assert [group["weight_decay"] for group in groups] == [0.0]


def test_adamw_has_the_published_constants():
    optimizer = build_optimizer(Small(), TrainConfig(lr=0.004))
    assert isinstance(optimizer, torch.optim.AdamW)
    for group in optimizer.param_groups:
        assert group["lr"] == 0.004
        assert group["betas"] == (0.9, 0.999)
        assert group["eps"] == 1e-8


def test_adamw_takes_betas_and_eps():
    optimizer = build_optimizer(Small(), TrainConfig(lr=0.004, adam_betas=(0.8, 0.99), adam_eps=1e-6))
    assert [(group["betas"], group["eps"]) for group in optimizer.param_groups] == 2 * [((0.8, 0.99), 1e-6)]


def test_sgd_takes_the_momentum():
    optimizer = build_optimizer(Small(), TrainConfig(lr=0.1, optimizer="sgd", momentum=0.8))
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["momentum"] == 0.8
    assert optimizer.param_groups[0]["nesterov"]
    build_optimizer(Small(), TrainConfig(lr=0.1, optimizer="sgd", momentum=0.0))  # Nesterov needs momentum


def test_decay_shrinks_the_decayed_weights_only():
    model = Small()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    nn.init.ones_(model.norm.bias)
    optimizer = build_optimizer(model, TrainConfig(lr=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    # AdamW: w * (1 - 0.1 * 0.5)
    torch.testing.assert_close(model.conv.weight, before["conv.weight"] * 0.95)
    torch.testing.assert_close(model.norm.bias, torch.ones(4))
    torch.testing.assert_close(model.conv.bias, before["conv.bias"])
