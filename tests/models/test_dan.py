"""DAN against torchvision, folded convolutions and loops; its two losses in closed form; its counts by hand."""

import math

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from mien.errors import RecipeError
from mien.models import registry
from mien.models.auxiliary import AuxiliaryLosses
from mien.models.baselines.dan import DistractYourAttention
from mien.models.layers.cross_attention_head import CrossAttentionHead, SpatialAttention
from mien.models.losses.affinity import AffinityLoss, partition_loss

ENTRY = registry.spec("dan")


def reduced(**changes: object) -> DistractYourAttention:
    torch.manual_seed(0)
    network = ENTRY.build(**{**ENTRY.reduced, **changes})
    assert isinstance(network, DistractYourAttention)
    return network


def soft_targets(n: int, classes: int = 7) -> torch.Tensor:
    return torch.rand(n, classes, generator=torch.Generator().manual_seed(2)).softmax(dim=1)


# --- the losses ---------------------------------------------------------------------------------------------------
def affinity_by_loops(vectors: np.ndarray, shares: np.ndarray, centres: np.ndarray) -> float:
    classes, features = centres.shape
    variance = 0.0
    for f in range(features):
        mean = sum(centres[:, f]) / classes
        variance += sum((c - mean) ** 2 for c in centres[:, f]) / (classes - 1)
    total = 0.0
    for vector, row in zip(vectors, shares, strict=True):
        for share, centre in zip(row, centres, strict=True):
            total += share * sum((a - b) ** 2 for a, b in zip(vector, centre, strict=True))
    return total / len(vectors) / variance


def test_affinity_is_the_closed_form() -> None:
    torch.manual_seed(0)
    loss, vectors = AffinityLoss(num_classes=7, features=12), torch.randn(5, 12)
    centres = loss.centres.detach().numpy().astype(float)
    labels = torch.tensor([0, 3, 6, 3, 1])
    for shares in (F.one_hot(labels, 7).float(), soft_targets(5)):
        expected = affinity_by_loops(vectors.numpy(), shares.numpy(), centres)
        assert loss(vectors, shares).item() == pytest.approx(expected, rel=1e-5)
        assert loss(vectors, shares.roll(1, dims=1)).item() != pytest.approx(expected, rel=1e-3)


def test_affinity_of_one_hot_targets_is_the_papers() -> None:
    """Distance to the label's own centre alone, the centre looked up by its number."""
    torch.manual_seed(0)
    loss, vectors, labels = AffinityLoss(num_classes=4, features=9), torch.randn(6, 9), torch.tensor([0, 1, 2, 3, 3, 0])
    own = F.mse_loss(vectors, loss.centres[labels], reduction="sum") / 6
    expected = own / torch.cov(loss.centres.T).trace()
    torch.testing.assert_close(loss(vectors, F.one_hot(labels, 4).float()), expected)
    assert loss(loss.centres[labels], F.one_hot(labels, 4).float()).item() == 0


def test_affinity_of_a_mixture_is_the_mixture_of_affinities() -> None:
    torch.manual_seed(0)
    loss, vectors = AffinityLoss(num_classes=7, features=8), torch.randn(3, 8)
    one, other = F.one_hot(torch.tensor([0, 1, 2]), 7).float(), F.one_hot(torch.tensor([5, 5, 6]), 7).float()
    mixed = loss(vectors, torch.lerp(other, one, 0.7))
    torch.testing.assert_close(mixed, 0.7 * loss(vectors, one) + 0.3 * loss(vectors, other))


def test_affinity_pulls_pictures_to_their_centre_and_centres_apart() -> None:
    torch.manual_seed(0)
    loss, vectors = AffinityLoss(num_classes=3, features=8), torch.randn(30, 8)
    shares = F.one_hot(torch.arange(30) % 3, 3).float()
    before, variance = loss(vectors, shares).item(), loss.centres.var(dim=0).sum().item()
    optimiser = torch.optim.SGD(loss.parameters(), lr=1.0)
    for _ in range(20):
        optimiser.zero_grad()
        loss(vectors, shares).backward()
        optimiser.step()
    assert loss(vectors, shares).item() < before
    assert loss.centres.var(dim=0).sum().item() > variance


def partition_by_loops(heads: np.ndarray) -> float:
    images, count, channels = heads.shape
    variances = []
    for i in range(images):
        for c in range(channels):
            mean = sum(heads[i, :, c]) / count
            variances.append(sum((h - mean) ** 2 for h in heads[i, :, c]) / (count - 1))
    return math.log(1 + count / (sum(variances) / len(variances)))


@pytest.mark.parametrize("count", [2, 4])
def test_partition_is_the_closed_form(count: int) -> None:
    heads = torch.randn(3, count, 5, generator=torch.Generator().manual_seed(4))
    assert partition_loss(heads).item() == pytest.approx(partition_by_loops(heads.numpy()), rel=1e-5)
    # Negative control: neither the mean of logarithms nor another axis is the same.
    assert torch.log1p(count / heads.var(dim=1)).mean().item() != pytest.approx(partition_loss(heads).item(), rel=1e-2)
    assert partition_by_loops(heads.numpy().swapaxes(1, 2)) != pytest.approx(partition_loss(heads).item(), rel=1e-2)


def test_partition_is_smaller_the_more_the_heads_differ_and_finite_where_they_do_not() -> None:
    heads = torch.randn(3, 4, 5)
    assert partition_loss(3 * heads).item() < partition_loss(heads).item()
    same = torch.ones(3, 4, 5, requires_grad=True)
    partition_loss(same).backward()
    assert same.grad is not None
    assert same.grad.isfinite().all()


# --- the network --------------------------------------------------------------------------------------------------
def test_spatial_attention_is_one_folded_convolution() -> None:
    """3×3 + 1×3 + 3×1 is one 3×3 whose kernel is the sum of the three, each in its place."""
    torch.manual_seed(0)
    layer, x = SpatialAttention(32).eval(), torch.randn(2, 32, 7, 5)
    square, row, column = (branch[0].weight for branch in layer.branches)
    kernel = square + F.pad(row, (0, 0, 1, 1)) + F.pad(column, (1, 1, 0, 0))
    norm = (1 + 1e-5) ** -0.5  # a batch norm that has seen nothing
    y = F.conv2d(norm * F.conv2d(x, layer.reduce[0].weight), norm * kernel, padding=1)
    torch.testing.assert_close(layer(x), x * y.clamp(min=0).sum(1, keepdim=True), rtol=1e-4, atol=1e-4)
    swapped = square + F.pad(column, (1, 1, 0, 0)).transpose(2, 3) + F.pad(column, (1, 1, 0, 0))
    y = F.conv2d(norm * F.conv2d(x, layer.reduce[0].weight), norm * swapped, padding=1)
    assert not torch.allclose(layer(x), x * y.clamp(min=0).sum(1, keepdim=True), rtol=1e-2)


def test_a_head_is_mean_times_gate_of_the_masked_map() -> None:
    torch.manual_seed(0)
    head, x = CrossAttentionHead(32).eval(), torch.randn(3, 32, 4, 4)
    gate = head[1].gate
    gate[0].weight.data.normal_()
    gate[3].weight.data.normal_()
    v = head[0](x).detach().numpy().mean(axis=(2, 3))
    w1, w2, b2 = (p.detach().numpy() for p in (gate[0].weight, gate[3].weight, gate[3].bias))
    hidden = np.maximum(v @ w1.T / np.sqrt(1 + 1e-5), 0)
    assert hidden.shape == (3, 2)
    expected = v / (1 + np.exp(-(hidden @ w2.T + b2)))
    np.testing.assert_allclose(head(x).detach().numpy(), expected, rtol=1e-4, atol=1e-4)


def test_heads_are_fused_by_log_softmax_then_sum() -> None:
    network, images = reduced().eval(), torch.randn(3, 3, 48, 48)
    for parameter in network.heads.parameters():
        parameter.data.mul_(0.5)
    with torch.no_grad():
        x = network.trunk(images)
        heads = np.stack([head(x).numpy() for head in network.heads])  # H×N×C
        fused = heads.sum(0) - len(heads) * np.log(np.exp(heads).sum(0))
        logits = fused @ network.classifier[0].weight.numpy().T / np.sqrt(1 + 1e-5)
        np.testing.assert_allclose(network(images).numpy(), logits, rtol=1e-4, atol=1e-4)
        plain = heads.sum(0) @ network.classifier[0].weight.numpy().T
        assert not np.allclose(network(images).numpy(), plain, rtol=1e-2)


def test_the_backbone_is_torchvisions_resnet18() -> None:
    theirs = torchvision.models.resnet18(weights=None).eval()
    ours = ENTRY.build().trunk.eval()
    missing = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert set(missing.missing_keys) == {"fc.weight", "fc.bias"}
    assert not missing.unexpected_keys
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), nn.Sequential(*list(theirs.children())[:-2])(x))


def test_losses_are_declared_weighted_and_leave_the_logits_alone() -> None:
    network, images, targets = reduced().eval(), torch.randn(4, 3, 48, 48), {"expression": soft_targets(4)}
    assert isinstance(network, AuxiliaryLosses)
    with torch.no_grad():
        logits, losses = network.forward_with_losses(images, targets)
        torch.testing.assert_close(logits, network(images))
        x = network.trunk(images)
        torch.testing.assert_close(losses["affinity"], network.affinity(x.mean((2, 3)), targets["expression"]))
        torch.testing.assert_close(losses["partition"], partition_loss(network.attend(x)))
        halved = reduced(affinity_weight=0.5, partition_weight=0.5).eval().forward_with_losses(images, targets)[1]
    assert set(losses) == {"affinity", "partition"}
    for name, term in losses.items():
        torch.testing.assert_close(2 * halved[name], term)


def test_one_head_is_neither_fused_nor_kept_apart() -> None:
    network, images = reduced(heads=1).eval(), torch.randn(2, 3, 48, 48)
    logits, losses = network.forward_with_losses(images, {"expression": soft_targets(2)})
    assert set(losses) == {"affinity"}
    torch.testing.assert_close(logits, network.classifier(network.heads[0](network.trunk(images))))


def test_every_parameter_learns_from_the_declared_loss() -> None:
    network, targets = reduced(), soft_targets(4)
    for affinity in (True, False):
        network.zero_grad()
        logits, losses = network.forward_with_losses(torch.randn(4, 3, 48, 48), {"expression": targets})
        loss = F.cross_entropy(logits, targets) + losses["partition"]
        (loss + losses["affinity"] if affinity else loss).backward()
        without = {n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
        assert without == (set() if affinity else {"affinity.centres"})


def test_counts_by_hand() -> None:
    d, half, hidden, k = 512, 256, 32, 7
    kernels = d * half + half * d * (9 + 3 + 3)
    head = kernels + 2 * half + 3 * 2 * d + (d * hidden + 2 * hidden + hidden * d + d)
    resnet18 = 11_689_512 - 1000 * 513  # torchvision's published count, without its classifier
    parameters = resnet18 + 4 * head + d * k + 2 * k
    assert parameters == 19_716_430
    dropped = 4 * (half + 3 * d + hidden) + k  # biases that the public code has before batch norms
    assert parameters + dropped == 19_723_733  # the public code's, its centres (in the loss there) apart
    convolutions = [(7, 3, 64, 112)] + 4 * [(3, 64, 64, 56)]
    for width, side in ((128, 28), (256, 14), (512, 7)):
        convolutions += [(3, width // 2, width, side), (1, width // 2, width, side), *[(3, width, width, side)] * 3]
    macs = sum(k * k * i * o * s * s for k, i, o, s in convolutions)
    assert round(macs / 1e9, 2) == 1.81  # torchvision's published figure, with the classifier's half a million
    macs += 4 * (49 * kernels + 2 * d * hidden) + d * k
    assert registry.measure(ENTRY) == (parameters + k * d, macs) == (19_720_014, 2_224_737_792)


@pytest.mark.parametrize(
    ("args", "classes", "message"),
    [
        ({"heads": 0}, 7, "expected at least one head, got 0"),
        ({"widths": (16, 32)}, 7, r"expected four widths.*got \(16, 32\)"),
        ({"widths": (16, 32, 48, 40)}, 7, "expected a width that is a multiple of 16, got 40"),
        ({}, 1, "expected num_classes of at least 2, got 1"),
    ],
)
def test_wrong_arguments_say_what_was_expected(args: dict[str, object], classes: int, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        registry.build("dan", args, num_classes=classes)
    with pytest.raises(RecipeError, match="with ImageNet weights"):
        registry.build("dan", {"widths": (16, 32, 48, 64)}, pretrained=True)
