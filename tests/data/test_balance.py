"""Balance: the targets are met, from Training originals alone, and never by a copy; geometry against scipy."""

import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from scipy import ndimage

from mien.data.build import balance
from mien.data.build.balance import Variation, can_vary, generate, generated_name, plan_balance, variations
from mien.data.build.index import Index
from mien.data.build.splits import SplitPlan, SplitSettings, plan_splits
from mien.errors import DataError, UsageError
from mien.labels import EIGHT, code
from mien.training.online_balance import BalancedOrder

OFF = Variation(rotate=0, autocontrast=0, mirror=0, shift=0, scale=0, brightness=0)


def picture(seed: int = 0, height: int = 48, width: int = 48, channels: int = 0) -> np.ndarray:
    """Smooth and colourful, 20 … 230."""
    shape = (height, width, channels) if channels else (height, width)
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), (3, 3, 0)[: len(shape)])
    noise = (noise - noise.min()) / np.ptp(noise)
    return (20 + 210 * noise).astype(np.uint8)


def index_of(counts: dict[str, list[int]], **columns) -> Index:
    """split → images per class, in code order."""
    rows = [(c, split) for split, classes in counts.items() for c, n in enumerate(classes) for _ in range(n)]
    values = {
        "source": ["a"] * len(rows),
        "path": [f"{i:05d}.png" for i in range(len(rows))],
        "label": np.array([c for c, _ in rows], np.int64),
        "split": [split for _, split in rows],
        "group": [None] * len(rows),
    }
    return Index(**values | columns)


# --- the plan --------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any),
    st.one_of(st.none(), st.integers(1, 90)),
    st.integers(0, 9),
)
def test_every_class_has_the_target_and_keeps_its_originals(classes: list[int], target: int | None, seed: int):
    index = index_of({"training": classes, "validation": [5] * len(classes)})
    plan = plan_balance(index, plan_splits(index), target=target, seed=seed)
    wanted = max(classes) if target is None else target
    made = Counter()
    for row, copies in zip(plan.rows.tolist(), plan.copies.tolist(), strict=True):
        assert index.split[row] == "training"
        made[int(index.label[row])] += copies
    for c, n in enumerate(classes):
        name = EIGHT[c]
        assert plan.before.get(name, 0) == n
        assert plan.after.get(name, 0) == n + made[c] == (max(n, wanted) if n else 0)
        copies = plan.copies[index.label[plan.rows] == c].tolist() + [0] * n
        assert max(copies[:n], default=0) - min(copies[:n], default=0) <= 1  # each original about equally often
    assert plan.rows.tolist() == sorted(set(plan.rows.tolist()))
    assert (plan.copies > 0).all()
    assert len(set(plan.seeds.tolist())) == len(plan.seeds)


def test_the_order_of_rows_does_not_matter_and_the_seed_does():
    index = index_of({"training": [40, 7]})
    order = np.random.default_rng(0).permutation(47)
    other = index_of({"training": [40, 7]}, path=[index.path[i] for i in order], label=index.label[order])

    def jobs(index: Index, seed: int = 0) -> dict[str, tuple[int, int]]:
        plan = plan_balance(index, plan_splits(index), seed=seed)
        return {index.path[r]: (c, s) for r, c, s in zip(plan.rows, plan.copies, plan.seeds, strict=True)}

    assert jobs(index) == jobs(other)
    assert jobs(index) != jobs(index, seed=1)


def test_targets_by_class():
    index = index_of({"training": [10, 4, 6]})
    plan = plan_balance(index, plan_splits(index), target={"anger": 12, "fear": 5})
    assert plan.before == {"angry": 10, "disgust": 4, "fear": 6}
    assert plan.after == {"angry": 12, "disgust": 4, "fear": 6}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (0, "at least 1 image for angry, got 0"),
        (True, "got True"),
        ({"disgust": 2.5}, "got 2.5"),
        ({"contempt": 9}, "classes of Training .angry, disgust., got one for contempt"),
    ],
)
def test_wrong_targets(target, message):
    index = index_of({"training": [3, 3]})
    with pytest.raises(UsageError, match=message):
        plan_balance(index, plan_splits(index), target=target)


def test_a_class_whose_images_cannot_be_varied_says_so():
    index = index_of({"training": [5, 2, 3]})
    usable = index.label != 1
    plan = plan_balance(index, plan_splits(index), usable=usable)
    assert plan.after == {"angry": 5, "disgust": 2, "fear": 5}
    assert plan.warnings == ["disgust: 3 images short of the target, none of its 2 images can be varied"]
    usable[8] = False  # one of three: the others make up for it
    plan = plan_balance(index, plan_splits(index), usable=usable)
    assert plan.after["fear"] == 5
    assert 8 not in plan.rows


def test_unlabelled_images_are_neither_counted_nor_varied():
    index = index_of({"training": [5, 2]}, label=np.array([0] * 4 + [-1] + [1] * 2))
    plan = plan_balance(index, plan_splits(index))
    assert plan.after == {"angry": 4, "disgust": 4}


def test_a_plan_of_another_index():
    index = index_of({"training": [3]})
    with pytest.raises(DataError, match="3 rows, got 5"):
        plan_balance(index, plan_splits(index_of({"training": [5]})))


def made_from(index: Index, plan: SplitPlan, pixels: list[np.ndarray]) -> list[np.ndarray]:
    jobs = plan_balance(index, plan)
    columns = (jobs.rows.tolist(), jobs.copies.tolist(), jobs.seeds.tolist())
    return [
        image for row, copies, seed in zip(*columns, strict=True) for image in variations(pixels[row], copies, seed)
    ]


@pytest.mark.parametrize("crossing", ["keep", "drop-from-training"])
def test_no_generated_image_comes_from_a_validation_or_test_image(crossing):
    """Every picture of an evaluation image is red, and so is any Training image that is a copy of one.

    No variation can make red of what has none, nor take all red away: blue pictures come from blue ones alone.
    """
    counts = {"training": [30, 6], "": [40, 9], "test": [5, 5]}
    copies = np.full(95, -1)
    copies[[0, 30, 31, 85, 90, 91]] = [0, 1, 2, 0, 1, 2]  # three Training images are copies of test images
    index = index_of(counts, exact=copies, group=[f"S{i % 9}" if 36 <= i < 85 else None for i in range(95)])
    plan = plan_splits(index, SplitSettings(crossing=crossing, balanced={"validation": 4}))
    red = np.array([split in ("validation", "test") for split in plan.split])
    red[[0, 30, 31]] = True
    pixels = []
    for row in range(95):
        pixels.append(np.zeros((24, 24, 3), np.uint8))
        pixels[row][..., 0 if red[row] else 2] = picture(row, 24, 24)
    made = made_from(index, plan, pixels)
    assert len(made) > 20
    assert not any(image[..., 0].any() for image in made)
    # Negative control: had the plan called every image Training, red ones would have been varied
    careless = SplitPlan(["training"] * 95, [], plan.unit, np.zeros(95, bool), [])
    assert any(image[..., 0].any() for image in made_from(index, careless, pixels))


# --- one variation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(48, 48), (40, 60)])
@pytest.mark.parametrize("seed", range(6))
def test_the_geometry_is_scipys(seed: int, height: int, width: int):
    """The same affine map through scipy's bilinear interpolation with its reflected border."""
    strength = Variation(autocontrast=0, brightness=0)
    image = picture(seed, height, width)
    turn, zoom, right, down, mirrored = balance._draws(seed)[:5]
    signed = 2 * turn - 1
    angle = np.radians(10 * np.copysign(0.1 + 0.9 * abs(signed), signed))
    scale = 1 + 0.05 * (2 * zoom - 1)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale  # rows, columns
    linear = rotation @ np.diag([1, -1 if mirrored < 0.5 else 1])
    centre = np.array([height - 1, width - 1]) / 2
    shift = 0.04 * (2 * np.array([down, right]) - 1) * (height, width)
    expected = ndimage.affine_transform(
        image.astype(float), linear, centre + shift - linear @ centre, order=1, mode="reflect"
    )
    got = generate(image, seed, strength=strength)
    assert np.abs(got - expected).max() <= 1  # rounding
    assert np.abs(image - expected).mean() > 3  # negative control: it is not the original that agrees


def test_rotation_stays_within_ten_degrees():
    """Measured on the picture: the angle between two spots before and after."""
    rows, columns = np.mgrid[:96, :96]
    spots = [np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 20) for y, x in ((48, 20), (48, 76))]
    image = (255 * np.clip(sum(spots), 0, 1)).astype(np.uint8)
    strength = Variation(autocontrast=0, mirror=0, shift=0, scale=0, brightness=0)
    angles = []
    for seed in range(200):
        turned = generate(image, seed, strength=strength).astype(float)
        (y1, x1), (y2, x2) = (ndimage.center_of_mass(part) for part in (turned[:, :48], turned[:, 48:]))
        angles.append(np.degrees(np.arctan2(y2 - y1, x2 - x1 + 48)))
    assert 9 < max(angles) < 10.1
    assert -10.1 < min(angles) < -9
    assert 0.9 < min(map(abs, angles)) < 2
    assert abs(np.mean(angles)) < 1.5


@pytest.mark.parametrize("channels", [0, 3])
def test_autocontrast_and_brightness_are_pillows(channels: int):
    image = picture(3, channels=channels) // 2 + 30
    strength = Variation(rotate=0, autocontrast=1, mirror=0, shift=0, scale=0, brightness=0)
    expected = np.array(ImageOps.autocontrast(Image.fromarray(image), cutoff=1, preserve_tone=True))
    assert (generate(image, 0, strength=strength) == expected).all()
    assert expected.max() == 255
    bright = generate(image, 5, strength=Variation(rotate=0, autocontrast=0, mirror=0, shift=0, scale=0))
    ratio = bright.astype(float).mean() / image.mean()
    assert 0.9 <= ratio <= 1.1
    assert abs(ratio - 1) > 0.01
    assert np.abs(bright - image * ratio).max() <= 1


def test_strength_off_is_the_identity_and_mirror_is_a_mirror():
    for image in (picture(), picture(1, 31, 44), picture(2, 30, 30, 3)):
        assert (generate(image, 0, strength=OFF) == image).all()
        mirrored = generate(
            image, 0, strength=Variation(rotate=0, autocontrast=0, mirror=1, shift=0, scale=0, brightness=0)
        )
        assert (mirrored == image[:, ::-1]).all()


@pytest.mark.parametrize("shape", [(48, 48), (48, 48, 3), (2, 2), (2, 90), (33, 7, 3)])
def test_shape_and_type_stay_and_the_original_is_not_touched(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    before = image.copy()
    made = generate(image, 1)
    assert made.shape == shape
    assert made.dtype == np.uint8
    assert made.flags.writeable
    assert (image == before).all()


@pytest.mark.parametrize("wrong", [np.zeros((9, 9)), np.zeros((9, 9, 4), np.uint8), np.zeros((1, 9), np.uint8)])
def test_what_is_no_picture(wrong):
    with pytest.raises(DataError, match="uint8 H×W"):
        generate(wrong, 0)


def test_the_same_bytes_in_another_process():
    code = (
        "import hashlib, numpy as np\n"
        "from mien.data.build.balance import variations\n"
        "image = np.arange(48 * 48 * 3, dtype=np.uint64).reshape(48, 48, 3) ** 2 % 251\n"
        "made = variations(image.astype(np.uint8), 4, 2**62)\n"
        "print(hashlib.sha256(b''.join(m.tobytes() for m in made)).hexdigest())\n"
    )
    answers = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    image = (np.arange(48 * 48 * 3, dtype=np.uint64).reshape(48, 48, 3) ** 2 % 251).astype(np.uint8)
    for seed in range(5):
        generate(picture(seed), seed)  # whatever went before does not matter
    here = hashlib.sha256(b"".join(m.tobytes() for m in variations(image, 4, 2**62))).hexdigest()
    assert answers == {here + "\n"}


# --- many variations of one ------------------------------------------------------------------------------------------


def almost_blank() -> np.ndarray:
    image = np.full((48, 48), 128, np.uint8)
    image[20:22, 30:32] = 129
    return image


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**62), st.integers(0, 30), st.sampled_from([(48, 48), (16, 16, 3), (5, 3), (2, 2)]))
def test_no_variation_is_a_copy(seed: int, copies: int, shape: tuple[int, ...]):
    image = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    made = variations(image, copies, seed)
    assert len({image.tobytes(), *(m.tobytes() for m in made)}) == len(made) + 1
    assert len(made) == copies or shape == (2, 2)
    assert [m.tobytes() for m in variations(image, copies // 2, seed)] == [m.tobytes() for m in made][: copies // 2]


@pytest.mark.parametrize("image", [np.zeros((48, 48), np.uint8), np.full((48, 48, 3), (9, 200, 30), np.uint8)])
def test_a_blank_image_has_no_variation(image):
    assert not can_vary(image)
    assert variations(image, 5, 0) == []


def test_an_almost_blank_image_ends_after_what_it_can_give():
    image = almost_blank()
    assert can_vary(image)
    made = variations(image, 3000, 0)
    assert 0 < len(made) < 3000
    assert all(can_vary(m) for m in made)
    assert len({m.tobytes() for m in (image, *made)}) == len(made) + 1


def test_what_gives_nothing_new_is_counted_and_not_repeated():
    """Negative control: with the mirror alone there is one variation, and without any change there is none."""
    image = picture()
    mirror = Variation(rotate=0, autocontrast=0, mirror=0.5, shift=0, scale=0, brightness=0)
    assert [m.tobytes() for m in variations(image, 5, 0, strength=mirror)] == [image[:, ::-1].tobytes()]
    assert variations(image, 5, 0, strength=OFF) == []


def test_names():
    assert generated_name("S010/x.png", 3) == "generated-0003/S010/x.png"


# --- online ----------------------------------------------------------------------------------------------------------

LABELS = np.array([0] * 50 + [1] * 3 + [2] * 11 + [-1] * 4)


def test_an_epoch_has_every_class_equally_often():
    order = BalancedOrder(LABELS, seed=4)
    assert len(order) == 69  # 68 rows, rounded to a multiple of three
    for epoch in range(4):
        rows = order(epoch)
        assert len(rows) == 69
        assert Counter(LABELS[rows].tolist()) == {0: 23, 1: 23, 2: 23}
    assert len(BalancedOrder(LABELS, size=600)) == 600
    assert np.bincount(LABELS[BalancedOrder(LABELS, size=600)(0)]).tolist() == [200] * 3


def test_over_the_epochs_all_images_of_a_class_come_equally_often():
    order = BalancedOrder(LABELS, seed=1)
    seen = np.bincount(np.concatenate([order(epoch) for epoch in range(25)]), minlength=len(LABELS))
    assert (seen[LABELS == -1] == 0).all()
    for c, n in ((0, 50), (1, 3), (2, 11)):
        assert set(seen[c == LABELS].tolist()) <= {25 * 23 // n, -(-25 * 23 // n)}
    # Negative control: drawing by weights, with replacement, does not do that
    weights = np.where(LABELS >= 0, 1 / (3 * np.bincount(LABELS[LABELS >= 0])[LABELS]), 0)
    drawn = np.random.default_rng(0).choice(len(LABELS), 25 * 69, p=weights)
    assert np.ptp(np.bincount(drawn, minlength=len(LABELS))[:50]) > 1


def test_the_order_depends_on_seed_and_epoch_only():
    order = BalancedOrder(LABELS, seed=2)
    later = order(7)
    assert (BalancedOrder(LABELS, seed=2)(7) == later).all()
    assert (order(8) != later).any()
    assert (BalancedOrder(LABELS, seed=3)(7) != later).any()
    assert (np.sort(LABELS[later]) != LABELS[later]).any()  # classes are mixed


def test_nothing_to_balance():
    with pytest.raises(DataError, match="labelled images"):
        BalancedOrder(np.array([-1, -1]))


# --- the real data set -----------------------------------------------------------------------------------------------


@pytest.mark.fer2013
@pytest.mark.long
def test_fer2013(fer2013_splits):
    training = fer2013_splits["training"]
    index = Index(
        source=["fer2013"] * len(training),
        path=training.paths,
        label=training.labels,
        split=["training"] * len(training),
        group=[None] * len(training),
    )
    usable = np.array([can_vary(pixels) for pixels in training.images])
    assert (~usable).sum() == 11  # eleven blank images in Training
    plan = plan_balance(index, plan_splits(index), usable=usable)
    assert set(plan.after.values()) == {7215}
    assert plan.copies.sum() == 7 * 7215 - 28709
    disgust = [k for k, row in enumerate(plan.rows) if training.labels[row] == code("disgust")]
    for k in disgust[:40]:
        original = training.images[plan.rows[k]]
        made = variations(original, int(plan.copies[k]), int(plan.seeds[k]))
        assert len(made) == plan.copies[k] in (15, 16)
        assert len({original.tobytes(), *(m.tobytes() for m in made)}) == len(made) + 1
