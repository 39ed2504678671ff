"""What a student learns from an ensemble: the mean of its teachers' probabilities; the teachers stay as they were."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mien.data.store import Store
from mien.preprocess import Preprocess
from mien.training import objectives
from mien.training.module import FerModule
from mien.training.networks import load_network
from reference_training import reference_training
from tiny_networks import Tiny, tiny_recipe
from tiny_runs import TrainTiny, close

SOFT = 2.0
NORMED = {"norm": True, "dropout": 0.5}


@pytest.fixture
def teachers(train_tiny: TrainTiny) -> list[Path]:
    """Three runs that disagree: sharp, softer, and trained for next to nothing. With batch norm and dropout."""
    rates = ((1.0, 0), (0.05, 1), (1e-3, 2))
    recipes = (tiny_recipe(args=NORMED, optimizer={"lr": lr}, epochs=4, batch_size=35, seed=seed) for lr, seed in rates)
    return [train_tiny(recipe).path for recipe in recipes]


def test_a_student_follows_the_mean_of_its_teachers_probabilities(
    teachers: list[Path], train_tiny: TrainTiny, small_store: Path
) -> None:
    recipe = tiny_recipe(distill={"runs": [str(t) for t in teachers], "weight": 0.7, "temperature": SOFT})
    networks = [load_network(path)[0] for path in teachers]

    @torch.no_grad()
    def logits(images: Tensor) -> Tensor:
        return torch.stack([network(images) for network in networks])  # 3×N×7

    def mean(images: Tensor) -> Tensor:
        return torch.softmax(logits(images) / SOFT, 2).mean(0)

    store = Store.open(small_store)
    expected = reference_training(recipe, store, soft_answers=mean)
    run = train_tiny(recipe)
    assert close(run.now, expected.states[-1])
    assert run.column("train_loss") == pytest.approx(expected.losses, abs=2e-5)
    # Controls: what else one might have made of three teachers is something else.
    for wrong in (
        lambda images: torch.softmax(logits(images) / SOFT, 2)[0],
        lambda images: torch.softmax(logits(images).mean(0) / SOFT, 1),
        lambda images: torch.softmax(logits(images), 2).mean(0),
        lambda images: (torch.softmax(logits(images) / SOFT, 2) * torch.tensor([0.5, 0.3, 0.2]).view(3, 1, 1)).sum(0),
    ):
        other = reference_training(recipe, store, soft_answers=wrong)
        assert abs(other.losses[0] - expected.losses[0]) > 1e-3
        assert not close(run.now, other.states[-1], atol=1e-4)


def test_teachers_only_answer(small_store: Path) -> None:
    """In eval mode whatever they came in; no gradient reaches them, their statistics stay, nobody trains them."""
    torch.manual_seed(1)
    given = Tiny(norm=True, dropout=0.5).train()
    before = copy.deepcopy(given.state_dict())
    recipe = tiny_recipe(distill={"runs": ["given below"], "weight": 1.0})
    module = FerModule(Tiny(), recipe, Preprocess(), steps_per_epoch=1, teachers=[given])
    random = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (20, 1, 48, 48), dtype=torch.uint8, generator=random)
    batch = {"images": images, "expression": torch.eye(7)[torch.arange(20) % 7]}
    drawn = module.objective.draw(batch, step=0)
    loss, _ = module.objective.loss(module.network, drawn)
    loss.backward()

    assert not drawn["teachers"].requires_grad
    assert all(p.grad is None and not p.requires_grad for p in given.parameters())
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())
    still = Tiny(norm=True, dropout=0.5).eval()
    still.load_state_dict(before)
    with torch.no_grad():
        torch.testing.assert_close(drawn["teachers"], torch.softmax(still(drawn["images"]), 1))
        assert not torch.allclose(drawn["teachers"], torch.softmax(still.train()(drawn["images"]), 1), atol=1e-2)
    # Neither the optimiser nor a checkpoint knows of them.
    held = {id(p) for group in module.configure_optimizers()["optimizer"].param_groups for p in group["params"]}
    assert held == {id(p) for p in module.network.parameters()}
    assert module.state_dict().keys() == {f"network.{name}" for name in module.network.state_dict()}


def test_several_steps_leave_the_teachers_alone(
    teachers: list[Path], train_tiny: TrainTiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning puts its module into train mode at each epoch; teachers must not follow."""
    seen: list[nn.Module] = []
    start = FerModule.__init__

    def remember(self: FerModule, *args: object, teachers: list[nn.Module], **options: object) -> None:
        seen.extend(teachers)
        start(self, *args, teachers=teachers, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FerModule, "__init__", remember)
    train_tiny(tiny_recipe(distill={"runs": [str(t) for t in teachers]}, epochs=3, optimizer={"sam": {"rho": 0.1}}))
    assert len(seen) == 3
    for network, path in zip(seen, teachers, strict=True):
        assert not any(m.training for m in network.modules())
        assert all(p.grad is None for p in network.parameters())
        expected = load_network(path)[0].state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def asked(monkeypatch: pytest.MonkeyPatch, augmentation: dict[str, float], *, spoil: bool) -> tuple[Tensor, Tensor]:
    """What a student sees in a step, and what its teacher is asked about."""
    given: list[Tensor] = []

    class Recorder(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            given.append(images)
            return images.mean((1, 2, 3))[:, None].repeat(1, 7)

    if not spoil:
        monkeypatch.setattr(objectives, "degrade", lambda images, share, generator, part: images)
    recipe = tiny_recipe(distill={"runs": ["given below"]}, augment=augmentation)
    module = FerModule(Tiny(), recipe, Preprocess(), steps_per_epoch=1, teachers=[Recorder()])
    images = torch.randint(0, 256, (20, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    drawn = module.objective.draw({"images": images, "expression": torch.eye(7)[torch.arange(20) % 7]}, step=3)
    assert "clear" not in drawn
    return drawn["images"], given[0]


def test_a_teacher_is_asked_about_the_picture_before_it_is_degraded(monkeypatch: pytest.MonkeyPatch) -> None:
    still = {"erase": 0.5, "mixup": 0.0}
    seen, clear = asked(monkeypatch, still | {"degrade": 1.0}, spoil=True)
    as_without, its_own = asked(monkeypatch, still | {"degrade": 0.0}, spoil=True)
    assert torch.equal(as_without, its_own)
    assert torch.equal(clear, as_without)
    assert ((seen - clear).abs().mean((1, 2, 3)) > 1e-3).all()


def test_the_clear_pictures_are_mixed_as_the_degraded_ones_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, clear = asked(monkeypatch, {"mixup": 0.5, "degrade": 0.5}, spoil=False)
    assert torch.equal(seen, clear)
