"""Teachers see the student's pictures as their own preprocess would have made them; compared with that preprocess."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.data.store import Store
from mien.errors import RecipeError
from mien.evaluation.calibration import probabilities
from mien.evaluation.predictors import RunPredictor, all_logits
from mien.labels import EIGHT
from mien.models import registry
from mien.preprocess import Preprocess
from mien.reading.probabilities import Calibration
from mien.training import teachers
from mien.training.device import channels
from mien.training.module import FerModule
from mien.training.networks import load_network
from mien.training.run import train
from mien.training.teachers import Teacher, convert, load_teacher
from small_run import small_recipe

STILL = {"flip": 0, "rotate": 0, "scale": [1, 1], "shift": 0, "brightness": 0, "contrast": 0, "erase": 0, "mixup": 0}
RGB: dict[str, Any] = {"color": "rgb", "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
GREY = Preprocess()


def pictures(side: int, *, color: str, n: int = 4) -> np.ndarray:
    """uint8 N×S×S or N×S×S×3 with structure at every scale, different in each channel."""
    random = np.random.default_rng(3)
    channels = 3 if color == "rgb" else 1
    coarse = np.kron(random.uniform(0, 255, (n, 6, 6, channels)), np.ones((1, side // 6 + 1, side // 6 + 1, 1)))
    found = np.clip(coarse[:, :side, :side] + random.normal(0, 25, (n, side, side, channels)), 0, 255).astype(np.uint8)
    return found if color == "rgb" else found[..., 0]


def as_input(preprocess: Preprocess, images: np.ndarray) -> np.ndarray:
    """The whole way of reading, in NumPy and Pillow."""
    return preprocess.views(preprocess.normalise(preprocess.stack(images)), tta=False)


def levels_apart(student: Preprocess, teacher: Preprocess, *, images: np.ndarray | None = None) -> float:
    """Largest difference, in steps of 1/255, between converting and the teacher's own way with the same pictures."""
    images = pictures(student.size, color=student.color) if images is None else images
    got = convert(torch.from_numpy(as_input(student, images)), student, teacher).numpy()
    expected = as_input(teacher, images)
    assert got.shape == expected.shape
    return float((np.abs(got - expected) * np.asarray(teacher.std).reshape(1, -1, 1, 1)).max() * 255)


PAIRS = {
    "mean and std": (GREY, Preprocess(mean=(0.4,), std=(0.3,))),
    "grey to rgb": (GREY, Preprocess(**RGB)),
    "rgb to grey": (Preprocess(**RGB), GREY),
    "enlarged": (GREY, Preprocess(size=112, **RGB)),
    "shrunk": (Preprocess(size=120, **RGB), Preprocess(size=50, **RGB)),
    "shrunk to grey": (Preprocess(size=120, **RGB), GREY),
    "a window of the teacher's": (GREY, Preprocess(window=40)),
    "both have the same window": (Preprocess(window=40), Preprocess(window=40, mean=(0.1,))),
    "two windows, one share": (Preprocess(size=48, window=40), Preprocess(size=48, window=40, **RGB)),
    "the student sees more": (Preprocess(size=60, window=54), Preprocess(size=60, window=50)),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
def test_converting_is_what_the_teachers_preprocess_does(pair: tuple[Preprocess, Preprocess]) -> None:
    assert levels_apart(*pair) <= 1.6  # Pillow rounds to whole levels: once a pass, once for grey


@pytest.mark.parametrize("pair", ["shrunk", "shrunk to grey"])
def test_without_antialiasing_it_would_not_be(pair: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def coarse(images: Tensor, *, antialias: bool, **options: Any) -> Tensor:
        return interpolate(images, **options)

    interpolate = F.interpolate
    monkeypatch.setattr(teachers.F, "interpolate", coarse)
    assert levels_apart(*PAIRS[pair]) > 10


def test_other_luma_weights_would_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teachers, "LUMA", (1, 1, 1))
    assert levels_apart(*PAIRS["rgb to grey"]) > 10


def test_a_student_with_a_window_shows_its_teacher_that_part() -> None:
    student, teacher = Preprocess(size=60, window=50), Preprocess(size=48)
    images = pictures(60, color="grey")
    got = convert(torch.from_numpy(as_input(student, images)), student, teacher).numpy()
    part = as_input(teacher, np.ascontiguousarray(images[:, 5:55, 5:55]))
    assert np.abs(got - part).max() * 0.25 * 255 <= 1.6
    # where the teacher has a smaller window, its scale is kept: 50 of 60 is 80 of 96, of which it takes 72
    large = Preprocess(size=96, window=72)
    got = convert(torch.from_numpy(as_input(student, images)), student, large).numpy()
    inner = as_input(replace(large, size=80), np.ascontiguousarray(images[:, 5:55, 5:55]))
    assert np.abs(got - inner).max() * 0.25 * 255 <= 1.6


def test_the_same_preprocess_changes_nothing(trained_run: Path) -> None:
    images = torch.randn(3, 1, 48, 48)
    assert convert(images, GREY, Preprocess()) is images
    assert not isinstance(load_teacher(trained_run, GREY), Teacher)
    assert isinstance(load_teacher(trained_run, Preprocess(**RGB)), Teacher)


def test_a_teacher_of_other_labels_is_refused(trained_run: Path) -> None:
    with pytest.raises(RecipeError, match=r"distill\.runs: expected a teacher of angry, .*contempt, got .*, of angry"):
        load_teacher(trained_run, GREY, labels=EIGHT)


class Recorder(nn.Module):
    """A teacher that answers by the mean of its picture, and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 7)
        self.drop = nn.Dropout(0.5)
        self.given: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.given.append(images)
        return self.drop(5 * self.head(images.mean((2, 3))))


def drawn(teaching: list[nn.Module], student: Preprocess, images: np.ndarray) -> tuple[FerModule, Tensor]:
    """What teachers answer to a step's pictures, drawn without augmentation."""
    recipe = small_recipe(augment=STILL, distill={"runs": ["unused"], "temperature": 2.0})
    module = FerModule(registry.build("nano"), recipe, student, steps_per_epoch=10, teachers=teaching)
    module.train()
    batch = {"images": torch.from_numpy(student.stack(images)), "expression": torch.eye(7)[: len(images)]}
    return module, module.objective.draw(batch, step=0)["teachers"]


def test_an_ensemble_of_runs_that_differ_averages_what_each_says_by_itself(
    trained_run: Path, small_store: Path
) -> None:
    """The student is in colour at 64 pixels; one teacher is a real run (grey, 48), the other takes colour at 32."""
    images = np.repeat(Store.open(small_store).read("public_test").images[:6, :, :, None], 3, axis=3)
    student, small = Preprocess(size=64, **RGB), Preprocess(size=32, **RGB)
    torch.manual_seed(0)
    other = Recorder()
    teaching = [load_teacher(trained_run, student), Teacher(other, small, seen=student)]
    answers = drawn(teaching, student, images)[1]

    run = RunPredictor(trained_run)
    own = all_logits(run, run.preprocess.stack(images), tta=False)
    with torch.no_grad():
        others = other.eval()(torch.from_numpy(as_input(small, images))).numpy()[:, None]
    soft = Calibration(temperature=2.0)
    expected = (probabilities(own, soft) + probabilities(others, soft)) / 2
    np.testing.assert_allclose(answers.numpy(), expected, atol=0.02)  # enlarged to 64 first: some detail is lost
    # The order of the answers matters, and neither teacher alone would pass.
    for wrong in (probabilities(own, soft), probabilities(others, soft), expected[::-1]):
        assert np.abs(answers.numpy() - wrong).max() > 0.03


def test_teachers_stay_as_they_are() -> None:
    teacher = Recorder()
    module, answers = drawn([Teacher(teacher, Preprocess(size=24, **RGB), seen=GREY)], GREY, pictures(48, color="grey"))
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not answers.requires_grad
    assert teacher.given[0].shape == (4, 3, 24, 24)
    assert not any(parameter is p for parameter in module.parameters() for p in teacher.parameters())


def test_a_colour_student_learns_from_a_grey_run(trained_run: Path, small_store: Path, tmp_path: Path) -> None:
    before = load_network(trained_run)[0].state_dict()
    recipe = small_recipe(
        model={"name": "dan", "args": registry.spec("dan").reduced},
        data={"size": 64, "mean": [0.5] * 3, "std": [0.2] * 3},
        distill={"runs": [str(trained_run)], "weight": 1.0},
        optimizer={"name": "adamw", "lr": 1e-3},
        epochs=1,
    )
    meta = train(recipe, Store.open(small_store), tmp_path / "student", accelerator="cpu", threads=1)
    assert meta["result"]["best_valid_accuracy"] is not None
    state = torch.load(tmp_path / "student" / "last.ckpt", weights_only=True)["state_dict"]
    assert not any("teacher" in name or "seen" in name for name in state)
    assert all(torch.equal(value, before[name]) for name, value in load_network(trained_run)[0].state_dict().items())


def test_the_answers_of_a_teacher_with_the_same_preprocess_are_its_own_to_the_bit(trained_run: Path) -> None:
    network = load_network(trained_run)[0]
    images = pictures(48, color="grey")
    module, answers = drawn([load_teacher(trained_run, GREY)], GREY, images)
    batch = {"images": torch.from_numpy(GREY.stack(images)), "expression": torch.eye(7)[:4]}
    with torch.no_grad():
        own = network.to(memory_format=torch.channels_last)(module.objective.draw(batch, step=0)["images"])
    assert torch.equal(answers, F.softmax(own / 2, dim=1))


def test_numbers_are_uploaded_once_and_training_may_use_what_validation_asked_for_first() -> None:
    numbers, device = (0.111, 0.222, 0.333), torch.device("cpu")
    with torch.inference_mode():
        first = channels(numbers, device)
    assert channels(numbers, device) is first
    images = torch.rand(1, 3, 2, 2, requires_grad=True)
    (images * first).sum().backward()  # an inference tensor would be refused
    assert torch.equal(images.grad[0, :, 0, 0], torch.tensor(numbers))  # type: ignore[index]
