"""Batch norm over the batch of all processes (``SyncBatchNorm``), on the CPU too.

Each process sees a part of a batch. With statistics of its own part alone, a network with batch norms trains
differently on two processes than on one. torch's ``SyncBatchNorm`` takes the statistics of all of them, but on GPUs
only; here its forward pass is written out for the CPU: mean, and mean squared distance from it, each summed over the
processes with gradients through the sums.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


def synced(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with its batch norms made to see the whole batch. Parameters and names in the state stay.

    The same object, unless it is a batch norm itself. device: where it is going to train.
    """
    from timm.layers import convert_sync_batchnorm  # knows timm's norms with an activation inside, which torch's loses

    network = convert_sync_batchnorm(network)
    if device.type == "cpu":
        for module in network.modules():
            if isinstance(module, nn.SyncBatchNorm):
                module.__class__ = SyncedOnCpu  # type: ignore[assignment]
    return network


def batch_norms(network: nn.Module, synced_norms: bool, world: int) -> str:
    """What ``meta.json`` says of them: "none", "whole batch", or "part of a process"."""
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return "none"
    return "whole batch" if synced_norms or world == 1 else "part of a process"


class SyncedOnCpu(_BatchNorm):
    """No ``SyncBatchNorm`` itself, which DDP takes on GPUs alone. act, drop: timm's layers that follow it inside."""

    def forward(self, input: Tensor) -> Tensor:
        out = self._normalised(input)
        for name in ("drop", "act"):
            out = getattr(self, name)(out) if hasattr(self, name) else out
        return out

    def _normalised(self, x: Tensor) -> Tensor:
        alone = not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1
        if not self.training or alone:
            return _plain(self, x)
        dims = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        wide = x.float()
        rows = torch.tensor([float(x.numel() // x.shape[1])])
        count = _SumOverProcesses.apply(rows)
        mean = _SumOverProcesses.apply(wide.sum(dims)) / count
        away = wide - mean.view(shape)
        var = _SumOverProcesses.apply(away.square().sum(dims)) / count
        out = away * (var + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            self._remember(mean.detach(), var.detach() * count / (count - 1))
        return out.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, var: Tensor) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)  # type: ignore[union-attr]
        self.running_var.lerp_(var, share)  # type: ignore[union-attr]


def _plain(norm: _BatchNorm, x: Tensor) -> Tensor:
    """What any batch norm of torch does with the rows at hand."""
    tracked = norm.track_running_stats and norm.running_mean is not None
    if norm.training and tracked and norm.num_batches_tracked is not None:
        norm.num_batches_tracked += 1
    share = norm.momentum
    if share is None:
        count = norm.num_batches_tracked
        share = 1 / float(count) if norm.training and tracked and count is not None else 0.0
    known = tracked or not norm.training
    return F.batch_norm(
        x,
        norm.running_mean if known else None,
        norm.running_var if known else None,
        norm.weight,
        norm.bias,
        norm.training or norm.running_mean is None,
        share,
        norm.eps,
    )


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.detach().clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        torch.distributed.all_reduce(total)
        return total
