"""Batch norm in training: over the images of all processes, as published models are trained, or left as it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtmdet_lab.core.distributed import sum_over_processes, world_size


class SyncNorm(nn.BatchNorm2d):
    """Batch norm whose statistics are those of all processes' images; for the CPU, where PyTorch has none."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(x)
        axes = (0, 2, 3)
        here = torch.cat([x.double().sum(axes), x.new_tensor([x.numel() / x.shape[1]], dtype=torch.float64)])
        total = sum_over_processes(here)
        count = total[-1].detach()
        mean = total[:-1] / count
        centered = x - mean.to(x.dtype)[:, None, None]
        # From the centered values: the difference of two large sums would lose the digits of a small variance.
        variance = sum_over_processes(centered.double().square().sum(axes)) / count
        # The defaults of BatchNorm2d, which every norm here has: statistics are tracked, as a moving average.
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(x.dtype), self.momentum)
            self.running_var.lerp_((variance * count / (count - 1)).to(x.dtype), self.momentum)
        scale = (self.weight.double() * (variance + self.eps).rsqrt()).to(x.dtype)
        return centered * scale[:, None, None] + self.bias[:, None, None]


def synchronise_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """Returns ``model`` with its batch norms exchanged for synchronised ones that hold the same tensors.

    On GPUs they are PyTorch's own.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        for name, child in list(module.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, _synchronised(child))
    return model


def _synchronised(norm: nn.BatchNorm2d) -> SyncNorm:
    exchanged = SyncNorm(norm.num_features, norm.eps, norm.momentum).train(norm.training)
    exchanged.weight, exchanged.bias = norm.weight, norm.bias
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        setattr(exchanged, name, getattr(norm, name))
    return exchanged


def set_norm_eval(model: nn.Module) -> None:
    """Puts every batch norm into eval mode: statistics are used, not updated; weights still learn."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
