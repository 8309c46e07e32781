"""Synchronised batch norm holds the tensors of the one it stands for; alone it is that one."""

from __future__ import annotations

import copy

import torch
from torch import nn

from rtmdet_lab import create_model
from rtmdet_lab.layers.batch_norm import SyncNorm, synchronise_norm

CPU = torch.device("cpu")


def test_every_norm_is_exchanged_and_keeps_its_tensors():
    model = create_model("rtmdet-nano", 3, width=0.125, depth=0.167)
    tensors = {name: value.data_ptr() for name, value in model.state_dict().items()}
    exchanged = synchronise_norm(model, CPU)
    assert {name: value.data_ptr() for name, value in exchanged.state_dict().items()} == tensors
    kinds = {type(module) for module in exchanged.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)}
    assert kinds == {SyncNorm}


def test_alone_it_is_batch_norm():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3, momentum=0.3)
    sync = synchronise_norm(nn.Sequential(copy.deepcopy(norm)), CPU)[0]
    x = torch.randn(4, 3, 5, 5)
    for training in (True, False):
        assert torch.equal(norm.train(training)(x), sync.train(training)(x))
    assert torch.equal(norm.running_var, sync.running_var)


def test_over_processes_it_is_batch_norm_of_all_images(monkeypatch):
    """The sum over processes is played: this one holds the whole batch, the others none."""
    monkeypatch.setattr("rtmdet_lab.layers.batch_norm.world_size", lambda: 2)
    monkeypatch.setattr("rtmdet_lab.layers.batch_norm.sum_over_processes", lambda value: value)
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3, momentum=0.3).double()
    nn.init.uniform_(norm.weight)
    sync = synchronise_norm(nn.Sequential(copy.deepcopy(norm)), CPU)[0]
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64) * 2 + 1000  # a mean that would swallow a variance from squares
    first, second = x.clone().requires_grad_(), x.clone().requires_grad_()
    weight = torch.randn_like(x)
    (norm(first) * weight).sum().backward()
    (sync(second) * weight).sum().backward()
    torch.testing.assert_close(sync(x), norm(x))
    torch.testing.assert_close(second.grad, first.grad)
    torch.testing.assert_close(sync.weight.grad, norm.weight.grad)
    torch.testing.assert_close(sync.running_var, norm.running_var)
    assert sync.num_batches_tracked == norm.num_batches_tracked == 2
