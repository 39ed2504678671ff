"""EfficientNet-B2 against timm and torchvision; the concordance loss in closed form and with missing targets."""

import math

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mien.errors import RecipeError
from mien.models import registry
from mien.models.auxiliary import AuxiliaryLosses
from mien.models.baselines.efficientnet_b2_multitask import EfficientNetMultitask
from mien.models.losses.concordance import concordance_loss

ENTRY = registry.spec("efficientnet_b2_multitask")
SIDE = 32


def reduced(**changes: object) -> EfficientNetMultitask:
    torch.manual_seed(0)
    network = ENTRY.build(**{**ENTRY.reduced, **changes})
    assert isinstance(network, EfficientNetMultitask)
    return network


# --- the concordance loss -----------------------------------------------------------------------------------------
def lin(predicted: np.ndarray, target: np.ndarray) -> float:
    """Lin's coefficient of two columns, by numpy's covariance matrix."""
    (var_p, cov), (_, var_t) = np.cov(predicted, target, bias=True)
    return float(2 * cov / (var_p + var_t + (predicted.mean() - target.mean()) ** 2))


def test_concordance_is_lins() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randn(20, 2, generator=generator)
    target = 0.6 * predicted + 0.3 * torch.randn(20, 2, generator=generator) + 0.2
    p, t = predicted.double().numpy(), target.double().numpy()
    expected = sum((1 - lin(p[:, i], t[:, i])) / 2 for i in range(2))
    assert concordance_loss(predicted, target).item() == pytest.approx(expected, rel=1e-5)
    correlation = sum((1 - np.corrcoef(p[:, i], t[:, i])[0, 1]) / 2 for i in range(2))
    assert concordance_loss(predicted, target).item() != pytest.approx(correlation, rel=1e-2)  # not Pearson's


def test_concordance_of_known_pairs() -> None:
    target = torch.tensor([[-0.8, 0.1], [0.2, 0.5], [0.6, -0.6]])
    target = target - target.mean(dim=0)
    assert concordance_loss(target, target).item() == pytest.approx(0, abs=1e-6)
    assert concordance_loss(-target, target).item() == pytest.approx(2, rel=1e-6)
    variance = target.var(dim=0, correction=0)
    shifted = sum((1 - 2 * v / (2 * v + 0.25)) / 2 for v in variance.tolist())
    assert concordance_loss(target + 0.5, target).item() == pytest.approx(shifted, rel=1e-5)
    assert concordance_loss(torch.zeros(3, 2), target).item() == pytest.approx(1)  # a constant agrees with nothing


def test_rows_without_a_target_are_left_out() -> None:
    predicted, target = torch.randn(9, 2), torch.rand(9, 2) * 2 - 1
    holes = target.clone()
    holes[2], holes[5, 1] = math.nan, math.nan  # one half is enough
    known = [0, 1, 3, 4, 6, 7, 8]
    torch.testing.assert_close(concordance_loss(predicted, holes), concordance_loss(predicted[known], target[known]))
    assert concordance_loss(predicted, holes).item() != pytest.approx(concordance_loss(predicted, target).item())


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_targets_give_no_nan(rows: int) -> None:
    predicted = torch.randn(4, 2, requires_grad=True)
    target = torch.full((4, 2), math.nan)
    target[:rows] = 0.5
    loss = concordance_loss(predicted, target)
    loss.backward()
    assert loss.item() == rows  # none: nothing to say; one: a coefficient of 0 in both columns
    assert predicted.grad is not None
    assert not predicted.grad.any()
    assert lin_without_care(predicted.detach(), target).isnan()  # negative control


def lin_without_care(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    off_p, off_t = predicted - predicted.mean(0), target - target.mean(0)
    spread = predicted.var(0) + target.var(0) + (predicted.mean(0) - target.mean(0)) ** 2
    return (2 * (off_p * off_t).mean(0) / spread).sum()


def test_the_gradient_passes_holes_by() -> None:
    predicted = torch.randn(6, 2, requires_grad=True)
    target = torch.rand(6, 2)
    target[3] = math.nan
    concordance_loss(predicted, target).backward()
    assert predicted.grad is not None
    assert predicted.grad.isfinite().all()
    assert predicted.grad.abs().sum(dim=1).gt(0).tolist() == [True, True, True, False, True, True]


# --- the network --------------------------------------------------------------------------------------------------
def test_the_joint_loss_is_declared_where_outputs_and_targets_are_there() -> None:
    images, expression = torch.randn(4, 3, SIDE, SIDE), torch.eye(7)[:4]
    targets = {"expression": expression, "valence_arousal": torch.rand(4, 2) * 2 - 1}
    network = reduced(valence_arousal=True, affect_weight=0.5).eval()
    assert isinstance(network, AuxiliaryLosses)
    assert network.affect is not None
    with torch.no_grad():
        logits, losses = network.forward_with_losses(images, targets)
        raw = network.affect(network.trunk(images))
        torch.testing.assert_close(logits, network(images))
        expected = 0.5 * concordance_loss(raw, targets["valence_arousal"])
        torch.testing.assert_close(losses, {"valence_arousal": expected})
        assert network.forward_with_losses(images, {"expression": expression})[1] == {}

        plain = reduced().eval()
        assert not [name for name, _ in plain.named_parameters() if name.startswith("affect")]
        assert plain.forward_with_losses(images, targets)[1] == {}
    with pytest.raises(ValueError, match="expected a network built with valence_arousal=True"):
        plain.valence_arousal(images)


def test_valence_and_arousal_are_clamped_to_their_range() -> None:
    network, images = reduced(valence_arousal=True).eval(), torch.randn(3, 3, SIDE, SIDE)
    assert network.affect is not None
    with torch.no_grad():
        raw = network.affect(network.trunk(images))
        torch.testing.assert_close(network.valence_arousal(images), raw)
        network.affect.bias.copy_(torch.tensor([5.0, -5.0]))
        assert torch.equal(network.valence_arousal(images), torch.tensor([[1.0, -1.0]]).expand(3, 2))


@pytest.mark.parametrize("known", [3, 0])
def test_every_parameter_learns_and_a_batch_without_targets_harms_none(known: int) -> None:
    network, targets = reduced(valence_arousal=True), torch.rand(5, 2)
    targets[known:] = math.nan
    expression = torch.eye(7)[:5]
    logits, losses = network.forward_with_losses(
        torch.randn(5, 3, 48, 48), {"expression": expression, "valence_arousal": targets}
    )
    (F.cross_entropy(logits, expression) + losses["valence_arousal"]).backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    assert set(gradients) == {name for name, _ in network.named_parameters()}
    assert all(g.isfinite().all() for g in gradients.values())
    still = {name for name, g in gradients.items() if not g.any()}
    assert still == (set() if known else {"affect.weight", "affect.bias"})


def test_the_backbone_is_timms() -> None:
    network = ENTRY.build().eval()
    theirs = timm.create_model("tf_efficientnet_b2", num_classes=7).eval()
    state = network.trunk.state_dict() | {f"classifier.{n}": p for n, p in network.classifier.state_dict().items()}
    theirs.load_state_dict(state)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(x), theirs(x))


def test_counts_are_torchvisions() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.efficientnet_b2(weights=None, num_classes=7).eval()
        example = torch.empty(1, 3, 260, 260)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        theirs(example)
    parameters, macs = sum(p.numel() for p in theirs.parameters()), counter.get_total_flops() // 2
    assert registry.measure(ENTRY) == (parameters, macs) == (7_710_857, 992_163_728)
    assert parameters + 993 * 1409 == 9_109_994  # torchvision's and timm's published count, 1000 classes
    assert registry.measure(ENTRY, {"valence_arousal": True}) == (parameters + 2 * 1409, macs)
    # the authors' joint model: B0 of 5,288,548 with 1000 classes, here seven and two
    joint = registry.measure(ENTRY, {"variant": "b0", "valence_arousal": True}, size=224)
    assert joint == (5_288_548 - (1000 - 9) * 1281, 384_543_712)


def test_a_wrong_variant_says_what_was_expected() -> None:
    with pytest.raises(RecipeError, match="expected variant to be b0 or b2, got 'b3'"):
        registry.build("efficientnet_b2_multitask", {"variant": "b3"})
