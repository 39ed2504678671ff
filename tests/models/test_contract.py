"""The contract that every registered network keeps, whole and, where that would be slow, reduced.

Shape at each of its input sizes; a gradient for every parameter from the network's declared total loss; in eval a row
does not depend on its batch; state survives a round trip; ONNX Runtime says what torch says; nothing but batch norm
keeps state from one forward pass to the next.
"""

import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from mien.errors import ExportError
from mien.export import export_onnx, parity
from mien.labels import SEVEN
from mien.models import registry
from mien.models.auxiliary import AuxiliaryLosses
from mien.preprocess import Preprocess

SPECS = registry.all_specs()
NAMED = pytest.mark.parametrize("entry", SPECS, ids=lambda s: s.name)
#: Of 30 to 140 million parameters, or billions of steps a picture; reduced they are tested as all others are.
LARGE = ("lhcnet", "resmaskingnet", "resnet34_unet_eca", "vit_hybrid_se")
#: What users export; of the others an edit of the export touches all or none.
EXPORTED = ("compact", "nano", "vggnet")


def long_if(condition: bool) -> list[pytest.MarkDecorator]:
    return [pytest.mark.long] if condition else []


SIZED = pytest.mark.parametrize(
    ("entry", "size"),
    [
        pytest.param(s, size, id=f"{s.name}-{size}", marks=long_if(s.name in LARGE))
        for s in SPECS
        for size in s.input_sizes
    ],
)


@lru_cache(maxsize=1)  # to draw the weights of the large ones takes longer than to run them
def _whole(name: str, size: int | None) -> nn.Module:
    torch.manual_seed(2)
    return registry.spec(name).build(num_classes=7, **({} if size is None else {"image_size": size}))


def whole(entry: registry.ModelSpec, size: int) -> nn.Module:
    """The same for all sizes where they make no difference to it, and so not to be trained."""
    return _whole(entry.name, size if entry.takes("image_size") else None)


def reduced_side(entry: registry.ModelSpec) -> int:
    return entry.reduced.get("image_size", min(entry.input_sizes))


def reduced(entry: registry.ModelSpec) -> nn.Module:
    """The network with all its parts, narrower and shallower, at its smallest side."""
    torch.manual_seed(2)
    side = {"image_size": reduced_side(entry)} if entry.takes("image_size") else {}
    return entry.build(num_classes=7, **(dict(entry.reduced) | side))


def pictures(entry: registry.ModelSpec, n: int, size: int) -> Tensor:
    return torch.randn(n, entry.channels, size, size, generator=torch.Generator().manual_seed(4))


def preprocess_of(entry: registry.ModelSpec, size: int) -> Preprocess:
    return Preprocess(size=size, color=entry.color, mean=(0.5,) * entry.channels, std=(0.25,) * entry.channels)


def total_loss(network: nn.Module, images: Tensor) -> Tensor:
    """What the training step minimises: cross-entropy and the terms that the network declares."""
    targets = torch.eye(7)[torch.arange(len(images)) % 7] * 0.9 + 0.1 / 7
    if not isinstance(network, AuxiliaryLosses):
        return F.cross_entropy(network(images), targets)
    affect = torch.linspace(-0.9, 0.9, 2 * len(images)).view(-1, 2)
    logits, terms = network.forward_with_losses(images, {"expression": targets, "valence_arousal": affect})
    assert all(term.ndim == 0 for term in terms.values())
    return F.cross_entropy(logits, targets) + sum(terms.values(), torch.zeros(()))


def randomised(network: nn.Module) -> nn.Module:
    """Weights and batch norms that are not the trivial ones of the start, so that a test sees what they do."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network


@SIZED
def test_whole_shape_and_in_eval_a_row_does_not_depend_on_its_batch(entry: registry.ModelSpec, size: int) -> None:
    network = whole(entry, size).eval()
    batch = pictures(entry, 3, size)
    with torch.no_grad():
        together, alone = network(batch), network(batch[1:2])
    assert together.shape == (3, 7)
    assert together.isfinite().all()
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=1e-3)


@NAMED
def test_with_batch_statistics_the_same_comparison_fails(entry: registry.ModelSpec) -> None:
    """The negative control of the test above."""
    network = randomised(reduced(entry)).eval()
    batch = pictures(entry, 5, reduced_side(entry))
    norms = [module.train() for module in network.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        pytest.skip("no batch norm: nothing in this network looks at other rows")
    with torch.no_grad():
        assert not torch.allclose(network(batch)[:2], network(batch[:2]), atol=1e-4, rtol=1e-3)


@NAMED
def test_every_parameter_learns_from_the_declared_loss(entry: registry.ModelSpec) -> None:
    """Over two steps: behind a layer that starts at zero there is no gradient in the first one."""
    network, size = reduced(entry), reduced_side(entry)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    reached: set[str] = set()
    for _ in range(2):
        optimizer.zero_grad()
        total_loss(network, pictures(entry, 8, size)).backward()
        reached |= {n for n, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        optimizer.step()
    assert {n for n, _ in network.named_parameters()} - reached == set(entry.unused_parameters)


@pytest.mark.parametrize("entry", [pytest.param(s, id=s.name, marks=long_if(s.name in LARGE)) for s in SPECS])
def test_whole_every_parameter_takes_part(entry: registry.ModelSpec) -> None:
    """The graph of the whole network reaches each parameter (values may still be zero at the first step)."""
    size = min(entry.input_sizes)
    network = copy.deepcopy(whole(entry, size)).train()
    total_loss(network, pictures(entry, 4, size)).backward()
    assert {n for n, p in network.named_parameters() if p.grad is None} == set(entry.unused_parameters)


@NAMED
def test_state_round_trip(entry: registry.ModelSpec, tmp_path: Path) -> None:
    network = randomised(reduced(entry)).eval()
    torch.save(network.state_dict(), tmp_path / "state.pt")
    torch.manual_seed(9)
    other = reduced(entry).eval()
    x = pictures(entry, 2, reduced_side(entry))
    with torch.no_grad():
        assert not torch.equal(network(x), other(x))
        other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert torch.equal(network(x), other(x))
        assert torch.equal(network(x), copy.deepcopy(network)(x))


@NAMED
def test_a_forward_pass_changes_nothing_but_batch_norms(entry: registry.ModelSpec) -> None:
    """SAM looks at a batch twice; a network that remembers anything else would see two different ones."""
    network = reduced(entry).train()
    norms = {f"{name}." for name, module in network.named_modules() if isinstance(module, _BatchNorm)}
    before = {name: value.clone() for name, value in network.state_dict().items()}
    total_loss(network, pictures(entry, 4, reduced_side(entry)))
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert all(name.startswith(tuple(norms)) for name in changed), changed


@NAMED
def test_in_bf16_and_channels_last(entry: registry.ModelSpec) -> None:
    network: Any = reduced(entry).eval()
    x = pictures(entry, 3, reduced_side(entry))
    with torch.no_grad():
        exact = network(x)
        last = network.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = network(x).float()
    torch.testing.assert_close(last, exact, atol=1e-4, rtol=1e-3)
    assert F.cosine_similarity(rough.flatten(), exact.flatten(), dim=0) > 0.99


@pytest.mark.parametrize("entry", [pytest.param(s, id=s.name, marks=long_if(s.name not in EXPORTED)) for s in SPECS])
def test_export_parity(entry: registry.ModelSpec, tmp_path: Path) -> None:
    network, file = randomised(reduced(entry)).eval(), tmp_path / "model.onnx"
    preprocess = preprocess_of(entry, reduced_side(entry))
    measured = export_onnx(network, file, name=entry.name, labels=SEVEN, preprocess=preprocess)
    assert measured["bytes"] == file.stat().st_size
    assert [f.name for f in tmp_path.iterdir()] == ["model.onnx"]

    # The gate is able to fail: other weights, against this file.
    with pytest.raises(ExportError, match="parity gate"):
        parity(reduced(entry).eval(), file.read_bytes(), preprocess, tolerance=1e-4)
