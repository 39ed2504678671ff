"""What an audit says of copies, labels, votes and pictures: closed forms, others' code, negative controls."""

import numpy as np
import pytest
from audit_stores import LABELS, faces, png, row, write_store
from brute_force import exact_duplicates, near_duplicates
from sklearn.metrics import confusion_matrix

from mien.data.audit import findings
from mien.data.audit.copies import find_copies
from mien.data.audit.faces import count_faces
from mien.data.audit.index import Picture, brightness, fetch, paths, pixel_digest, read_index
from mien.data.near_duplicates import groups_within
from mien.data.sources import VOTE_NAMES
from mien.data.store import Store
from mien.errors import DataError


def silent(done: int, total: int, what: str) -> None:
    assert done <= total


def copies_in(store: Store, **options):
    index = read_index(store, progress=silent)
    kept = []
    settings = {"threshold": 0.99, "strict": 0.995, "tolerance": 1.0} | options
    found = find_copies(index, lambda n: fetch(store, n), on_pairs=kept.append, progress=silent, **settings)
    return index, found, kept


# --- copies -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A store whose test split repeats Training in every way, with the images and labels of each split."""
    random = np.random.default_rng(7)
    train, test = faces(60, seed=1), faces(24, seed=2)
    train[50:54] = train[0]  # identical, five times
    train[54] = train[1][:, ::-1]
    train[55:57] = 0  # blank
    test[0] = train[0]
    test[1] = train[2] + 1  # within 1, by a hair
    test[2] = np.clip(train[3].astype(int) + random.integers(-3, 4, (48, 48)), 0, 255)
    test[3] = train[4] // 2 + 60
    test[4] = train[5][:, ::-1] // 2 + 60
    test[5] = 0
    test[6] = 1  # blank, and within 1 of Training's blanks
    images = {"training": train, "test": test}
    labels = {name: random.integers(0, 7, len(pixels)) for name, pixels in images.items()}
    labels["training"][:4], labels["training"][50:54] = 3, (3, 3, 4, 3)
    labels["test"][:4] = (4, 3, 3, -1)
    rows = {
        name: [
            row(image, f"{name}/{i}.png", label=None if code < 0 else LABELS[code])
            for i, (image, code) in enumerate(zip(images[name], labels[name], strict=True))
        ]
        for name in images
    }
    return Store.open(write_store(tmp_path_factory.mktemp("leaky") / "store", rows)), images, labels


def test_the_leak_is_that_of_duplicates(leaky):
    store, images, _ = leaky
    index, found, _ = copies_in(store)
    at = index.split == 1
    test, train = images["test"], images["training"]
    assert np.array_equal(found.has["near"][at, 0], near_duplicates(test, train))
    assert np.array_equal(found.has["strict"][at, 0], near_duplicates(test, train, threshold=0.995))
    assert np.array_equal(found.has["identical"][at, 0], exact_duplicates(test, train))
    assert np.array_equal(found.has["within"][at, 0], exact_duplicates(test, train, tolerance=1))
    assert found.has["near"][at, 0][:7].tolist() == [True] * 5 + [False] * 2
    assert found.has["within"][at, 0][:7].tolist() == [True, True, False, False, False, True, True]
    assert not found.has["near"][at, 0][7:].any()  # strangers


def test_groups_and_twins_are_those_of_duplicates(leaky):
    store, images, _ = leaky
    _, found, _ = copies_in(store)
    together = np.concatenate([images["training"], images["test"]])
    assert np.array_equal(found.group, groups_within(together))
    assert found.first_identical[[0, 50, 53, 60]].tolist() == [0, 0, 0, 0]
    assert found.first_identical[[1, 54]].tolist() == [1, 54]


def test_copies_within_a_split_leave_the_image_itself_out(leaky):
    index, found, _ = copies_in(leaky[0])
    own = found.has["near"][index.split == 0, 0]
    assert np.flatnonzero(own).tolist() == [0, 1, *range(50, 55)]
    assert np.flatnonzero(found.has["identical"][index.split == 0, 0]).tolist() == [0, *range(50, 54), 55, 56]


def test_labels_of_copies_by_slow_comparison(leaky):
    """Each image's near-duplicates pair by pair, and which of their labels differ."""
    store, images, labels = leaky
    index, found, _ = copies_in(store)
    together = np.concatenate([images["training"], images["test"]])
    label = np.concatenate([labels["training"], labels["test"]])
    for i in range(len(together)):
        rest = np.flatnonzero(np.arange(len(together)) != i)
        alike = rest[[bool(near_duplicates(together[j : j + 1], together[i : i + 1])[0]) for j in rest]]
        for cell in (0, 1):
            here = alike[index.split[alike] == cell]
            differs = label[i] >= 0 and any(label[j] >= 0 and label[j] != label[i] for j in here)
            assert found.other["near"][i, cell] == differs
            assert found.has["near"][i, cell] == (len(here) > 0)
            assert (found.closest(cell)[0][i] in here) == (len(here) > 0)
    assert found.other["near"].any()


def test_the_closest_is_the_first_of_equals(leaky):
    _, found, _ = copies_in(leaky[0])
    image, correlation = found.closest(0)
    assert image[[0, 50, 51]].tolist() == [50, 0, 0]
    assert image[60] == 0
    assert correlation[60] == 1
    assert image[62] == 3
    assert 0.99 < correlation[62] < 1
    assert image[65] == image[70] == -1  # a blank one, a stranger


def test_pairs_are_of_distinct_pictures_and_handed_on(leaky):
    _, found, kept = copies_in(leaky[0])
    handed = sorted((int(i), int(j)) for pairs in kept for i, j in zip(pairs.first, pairs.second, strict=True))
    assert handed == [(1, 54), (2, 61), (3, 62), (4, 63), (5, 64)]
    assert found.pair_count == 5
    assert found.mirrored_count == 2
    assert found.pairs.first.tolist() == [pair for batch in kept for pair in batch.first.tolist()]


def test_negative_control_a_higher_threshold_finds_less(leaky):
    _, found, _ = copies_in(leaky[0], threshold=0.9999, strict=0.9999, tolerance=0.0)
    _, usual, _ = copies_in(leaky[0])
    assert found.has["near"].sum() < usual.has["near"].sum()
    assert np.array_equal(found.has["within"], found.has["identical"])


def test_rgb_differences_are_taken_over_all_channels(tmp_path):
    """Within 1 in the mean, though one channel alone carries all of it; grey as RGB is grey."""
    random = np.random.default_rng(3)
    image = random.integers(20, 200, (48, 48, 3), dtype=np.uint8)
    green, more, grey = image.copy(), image.copy(), faces(1)[0]
    green[..., 1] += 3  # 3 / 3 = 1 in the mean
    more[..., 1] += 4
    pictures = [image, green, more, grey, np.repeat(grey[:, :, None], 3, 2), faces(1, side=40)[0]]
    rows = [row(pixels, f"{i}.png") for i, pixels in enumerate(pictures)]
    store = Store.open(write_store(tmp_path / "s", {"training": rows}))
    index, found, _ = copies_in(store)
    assert found.has["within"][:, 0].tolist() == [True, True, True, True, True, False]  # 1-2 and 2-3 are 1 apart
    assert found.has["identical"][:, 0].tolist() == [False, False, False, True, True, False]
    assert index.grey.tolist() == [False] * 3 + [True] * 3
    _, strict, _ = copies_in(store, tolerance=0.9)
    assert strict.has["within"][:3, 0].tolist() == [False, True, True]  # 1/3 between the second and the third


def test_generated_and_broken_images_take_no_part(tmp_path):
    image = faces(3)
    rows = [
        row(image[0], "a", generated_from=None),
        row(image[0], "b", generated_from="a"),
        row(image[1], "c", generated_from="elsewhere"),
        row(b"no picture", "d", generated_from=None),
        row(png(image[2])[:200], "e", generated_from=None),
        row(None, "f", generated_from=None),
    ]
    store = Store.open(write_store(tmp_path / "s", {"training": rows, "test": [row(image[1], "elsewhere")]}))
    index, found, _ = copies_in(store)
    assert index.readable.tolist() == [True, True, True, False, False, False, True]
    assert index.generated.tolist() == [False, True, True, False, False, False, False]
    assert index.stray.tolist() == [2]  # its original is in the other split
    assert not any(found.has[degree].any() for degree in found.has)
    assert len(np.unique(found.group)) == 7


def test_overlap_by_split_and_source():
    has = np.array([[True, False, False], [False, True, True], [False, False, False], [True, False, True]])
    cells = ((0, 0), (0, 1), (1, 0))
    cell = np.array([0, 1, 2, 2])
    assert findings.overlap(has, cell, cells, by=0).tolist() == [[2, 1], [1, 1]]
    assert findings.overlap(has, cell, cells, by=1).tolist() == [[2, 0], [1, 1]]


def test_mixed_groups_and_clashes():
    group = np.array([0, 0, 1, 1, 1, 2, 2, 3])
    label = np.array([5, 5, 1, 2, -1, 1, 3, 4])
    assert findings.mixed_groups(group, label).tolist() == [1, 2]
    clashes = findings.label_clashes(group, label, 7)
    assert clashes.sum() == 4
    assert clashes[1, 2] == clashes[2, 1] == clashes[1, 3] == 1
    assert findings.mixed_groups(group, np.full(8, -1)).size == 0
    assert findings.label_clashes(group[:0], label[:0], 7).sum() == 0


def test_crossing_groups():
    assert findings.crossing(np.array([4, 4, 7, 7, -1, -1]), np.array([0, 0, 0, 1, 0, 1])).tolist() == [7]


# --- votes ------------------------------------------------------------------------------------------------------------


def ballots(**counts: int) -> list[int]:
    return [counts.get(name, 0) for name in VOTE_NAMES]


VOTES = np.array(
    [
        ballots(happiness=10),
        ballots(anger=5, neutral=5),
        ballots(not_face=6, fear=4),
        ballots(),
        ballots(sadness=7, unknown=2),
        ballots(contempt=8, neutral=2),
    ]
)
LABEL = np.array([3, 0, 2, 1, -1, 4])


def test_agreement_majority_and_support():
    wanted = [1, 0.5, 0.6, np.nan, 7 / 9, 0.8]
    assert findings.agreement(VOTES) == pytest.approx(wanted, nan_ok=True)
    names = [VOTE_NAMES.index(name) for name in ("happiness", "not_face", "sadness", "contempt")]
    assert findings.majority(VOTES).tolist() == [names[0], findings.TIE, names[1], findings.NO_VOTES, *names[2:]]
    columns = findings.column_of_each_label(LABELS)
    assert [VOTE_NAMES[c] for c in columns] == [
        "anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral",
    ]  # fmt: skip
    assert findings.support(VOTES, LABEL, columns) == pytest.approx([1, 0.5, 0.4, np.nan, np.nan, 0], nan_ok=True)
    assert findings.column_of_each_label(["contempt", "my own"]) == [VOTE_NAMES.index("contempt"), -1]
    own = findings.support(VOTES, np.array([0, 1, 1, 1, 1, 0]), findings.column_of_each_label(["contempt", "my own"]))
    assert own == pytest.approx([0, np.nan, np.nan, np.nan, np.nan, 0.8], nan_ok=True)
    assert findings.voted(VOTES).tolist() == [True, True, True, False, True, True]


def test_tenths():
    share = np.array([0, 0.1, 0.100001, 0.3, 1 / 3, 0.9, 0.95, 1, np.nan])
    assert findings.tenths(share).tolist() == [1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 2]
    assert findings.tenths(np.array([0.1 * 3, 0.7])).tolist() == [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]  # rounding


def test_label_against_votes_is_sklearns_confusion_matrix():
    random = np.random.default_rng(0)
    votes = random.multinomial(10, [0.1] * 10, 500)
    label = random.integers(0, 7, 500)
    table = findings.label_against_votes(votes, label, 7)
    answer = np.where(findings.majority(votes) == findings.TIE, 10, findings.majority(votes))
    assert np.array_equal(table, confusion_matrix(label, answer, labels=range(11))[:7])
    assert table[:, 10].sum() > 0
    assert findings.label_against_votes(VOTES, LABEL, 7).sum() == 4  # with votes and a label


# --- pictures and balance ---------------------------------------------------------------------------------------------


def test_brightness_by_numpy():
    pixels = faces(1, seed=9)[0]
    mean, std, spread, flat = brightness(pixels)
    assert (mean, std) == pytest.approx((pixels.mean(), pixels.std()))
    low, high = np.quantile(pixels, (0.05, 0.95), method="inverted_cdf")
    assert spread == high - low
    assert flat == max(((pixels >= v) & (pixels < v + 5)).mean() for v in range(252))
    rgb = np.repeat(pixels[:, :, None], 3, 2)
    assert brightness(rgb) == pytest.approx((mean, std, spread, flat))


def test_digests():
    grey = faces(1)[0]
    rgb = np.repeat(grey[:, :, None], 3, 2)
    other = rgb.copy()
    other[0, 0, 0] += 1
    assert pixel_digest(grey) == pixel_digest(rgb) == pixel_digest(grey.copy())
    assert len({pixel_digest(x) for x in (grey, other, grey[:, ::-1], grey[:24], grey[:, :24])}) == 5


def test_kinds_of_pictures():
    def kind(pixels: np.ndarray) -> str:
        _, std, spread, flat = brightness(pixels.astype(np.uint8))
        code = findings.picture_kinds(*(np.array([x]) for x in (std, spread, flat, True)))[0]
        return findings.KINDS[code]

    dots = np.full((48, 48), 255)
    dots[20:28, 5:40] = 0
    noise = np.random.default_rng(0).integers(100, 108, (48, 48))
    assert [kind(np.full((48, 48), v)) for v in (0, 255)] == ["blank", "blank"]
    assert kind(noise) == "near-blank"
    assert kind(dots) == "flat"
    assert kind(faces(1)[0]) == ""  # negative control
    unread = findings.picture_kinds(*(np.array([x]) for x in (0.0, 0, 0.0, False)))
    assert unread.tolist() == [0]


def test_quantiles_by_place():
    values = np.arange(101.0)
    table = findings.quantiles(values, np.where(values < 51, 0, 2), 3)
    assert table[0].tolist() == [50 * q for q in findings.QUANTILES]
    assert np.isnan(table[1]).all()


def test_class_counts_imbalance_and_shift():
    counts = findings.class_counts(np.array([0, 0, 0, 1]), np.array([0, 0, 2, -1]), 2, 3)
    assert counts.tolist() == [[2, 0, 1, 0], [0, 0, 0, 1]]
    assert findings.imbalance(np.array([7215, 436, 0])) == pytest.approx(7215 / 436)
    assert np.isnan(findings.imbalance(np.zeros(3, int)))
    assert findings.shift(np.array([1, 1]), np.array([3, 3])) == 0
    assert findings.shift(np.array([1, 0]), np.array([0, 9])) == 1
    assert findings.shift(np.array([1, 1]), np.array([3, 1])) == 0.25
    assert np.isnan(findings.shift(np.array([1, 1]), np.array([0, 0])))
    with pytest.raises(DataError, match="expected counts of the same classes"):
        findings.shift(np.array([1, 1]), np.array([1, 1, 1]))


# --- the store --------------------------------------------------------------------------------------------------------


def test_index_and_fetch_agree_on_numbers(tmp_path):
    images = {"training": faces(40, seed=1), "test": faces(9, seed=2, side=30)}
    votes = ballots(fear=10)
    rows = {
        name: [
            row(x, f"{name}{i}", label="fear" if i % 2 else None, votes=votes if i % 3 else None, group=f"s{i % 4}")
            for i, x in enumerate(pixels)
        ]
        for name, pixels in images.items()
    }
    store = Store.open(write_store(tmp_path / "s", rows))
    index = read_index(store, progress=silent)
    numbers = [41, 0, 17, 16, 48, 17]
    pictures = list(fetch(store, numbers))
    assert [picture.number for picture in pictures] == [0, 16, 17, 41, 48]
    names = [name for part in paths(store) for name in part]
    together = [*images["training"], *images["test"]]
    for picture in pictures:
        assert picture.path == names[picture.number]
        assert np.array_equal(picture.pixels, together[picture.number])
        assert index.digest[picture.number].tobytes() == pixel_digest(together[picture.number])
    assert index.width.tolist() == [48] * 40 + [30] * 9
    assert index.label[:3].tolist() == [-1, 2, -1]
    assert index.votes[1].tolist() == votes
    assert index.votes[0].sum() == 0
    assert index.groups[index.group[5]] == "drawn/s1"
    assert index.sources == ("drawn",)


def test_a_store_that_is_wrong(tmp_path):
    wrong = write_store(tmp_path / "label", {"training": [row(faces(1)[0], "a", label="bored")]})
    with pytest.raises(DataError, match=r"expected a label of the store .*'bored'"):
        read_index(Store.open(wrong), progress=silent)
    wrong = write_store(tmp_path / "votes", {"training": [row(faces(1)[0], "a", votes=[1, 2])]})
    with pytest.raises(DataError, match="expected 10 votes an image, got 2"):
        read_index(Store.open(wrong), progress=silent)
    wrong = write_store(tmp_path / "shard", {"training": [row(faces(1)[0], "a")]})
    (shard,) = (wrong / "data").iterdir()
    shard.write_bytes(shard.read_bytes()[:-50])
    with pytest.raises(DataError, match="expected a shard of ours, cannot read"):
        read_index(Store.open(wrong), progress=silent)
    empty = write_store(tmp_path / "empty", {"training": []})
    with pytest.raises(DataError, match="expected images in"):
        read_index(Store.open(empty), progress=silent)


def test_faces_are_counted_by_number():
    class Bright:
        def detect(self, image):
            assert image.shape[2] == 3
            return [None] * int(image.mean() > 100)

    pictures = [
        Picture(0, "a", np.full((5, 5), 200, np.uint8)),
        Picture(2, "b", np.zeros((5, 5, 3), np.uint8)),
        Picture(3, "c", None),
    ]
    found = count_faces(iter(pictures), Bright(), total=5, workers=2, progress=silent)
    assert found.tolist() == [1, -1, 0, -1, -1]
