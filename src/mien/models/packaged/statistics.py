"""Give batch norms the statistics of pictures, without changing what the network computes from them.

For networks whose weights come with the batch norms' effect, a factor and an offset a channel, and without the mean and
variance behind it. In evaluation a batch norm computes weight · (x − mean) / √(var + ε) + bias: the same for other
statistics, where weight and bias follow. In training the batch's own mean and variance then stand where the
weights expect them.
"""

import torch
from torch import Tensor, nn


@torch.no_grad()
def measure_statistics(network: nn.Module, pictures: Tensor, *, batch: int = 64) -> None:
    """Measure the mean and variance before every batch norm, in one pass in evaluation mode; the function stays.

    pictures: float32 N×C×S×S as the network takes them. batch: how many go through at once. The network's mode stays.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    sums = {id(norm): torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms}

    def note(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        x = inputs[0].transpose(0, 1).flatten(1).double()  # C×(N·H·W)
        sums[id(norm)] = sums[id(norm)] + torch.stack(
            [torch.full((len(x),), float(x.shape[1])), x.sum(1), (x * x).sum(1)]
        )

    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    training = network.training
    try:
        network.eval()
        for part in pictures.split(batch):
            network(part)
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    for norm in norms:
        count, total, squares = sums[id(norm)]
        mean = total / count
        _restate(norm, mean.float(), (squares / count - mean**2).clamp(min=0).float())


def _restate(norm: nn.BatchNorm2d, mean: Tensor, var: Tensor) -> None:
    """The same function with that mean and variance."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    norm.bias.add_(factor * (mean - norm.running_mean))
    norm.weight.copy_(factor * (var + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
