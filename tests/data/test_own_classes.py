"""Classes of the user's own: which names can be one, their order, and the stores that are built of them."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from called import Call
from mien.data.audit.index import read_index
from mien.data.sources import open_source
from mien.data.store import Store
from mien.errors import DataError, UsageError
from mien.labels import EIGHT, SEVEN, coded, is_own, own_set, require_expressions


def picture(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6), np.uint8)
    return Image.fromarray(coarse).resize((40, 40), Image.Resampling.BICUBIC)


def folders(home: Path, classes: dict[str, int]) -> Path:
    for number, (name, pictures) in enumerate(classes.items()):
        (home / name).mkdir(parents=True)
        for i in range(pictures):
            picture(1000 * number + i).save(home / name / f"{i}.png")
    return home


@pytest.fixture
def call() -> Call:
    return Call(Path("unused.onnx"))


def test_the_order_is_ours_for_expressions_and_the_alphabet_for_others() -> None:
    assert own_set(reversed(SEVEN)) == SEVEN
    assert own_set(sorted(EIGHT)) == EIGHT
    assert own_set(["neutral", "happy", "angry"]) == ("angry", "happy", "neutral")
    assert own_set(["Zorn", "ärger", "bored", "bored"]) == ("bored", "Zorn", "ärger")
    assert not is_own(SEVEN)
    assert is_own(("angry", "happy", "neutral"))
    assert is_own(tuple(sorted(SEVEN)))  # negative control: another order is another set
    assert coded(SEVEN) == EIGHT
    assert coded(("a", "b")) == ("a", "b")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "got none"),
        (["smile"], "got smile"),
        (["Smile", "smile", "x1"], "more than case"),
        ([f"class {n}" for n in range(61)], "at most 60"),
        (["score", "smile"], "columns? of mien"),
        (["raw_smile", "smile"], "column of mien"),
        (["a\nb", "smile"], "control"),
        (["=1+1", "smile"], "formula"),
        (["$x", "smile"], "figures"),
        (["x" * 61, "smile"], "1 to 60"),
        ([" smile", "smile"], "blanks"),
    ],
)
def test_names_that_cannot_be_classes(names: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        own_set(names)


def test_what_compares_expressions_refuses_others() -> None:
    require_expressions(SEVEN, "mien reproduce paper-a")
    with pytest.raises(UsageError, match="mien reproduce paper-a: expected the seven or eight expressions"):
        require_expressions(("a", "b"), "mien reproduce paper-a")


def test_a_store_of_folders(call: Call, tmp_path: Path) -> None:
    home = folders(tmp_path / "pictures", {"very engaged, 80 %": 30, "bored": 20, "ennuyé": 10})
    (home / "bored" / "notes.txt").write_text("no picture")
    out = tmp_path / "store"
    call("data", "build", "--source", f"folder={home}", "--labels", "own", "--workers", "1", "-o", out)
    assert call.status == 0, call.err
    assert "labels own: bored, ennuyé, very engaged, 80 %" in call.err
    assert "column group keeps people together" in call.err
    store = Store.open(out)
    assert store.labels == ("bored", "ennuyé", "very engaged, 80 %")
    assert store.summary["options"]["classes"] == list(store.labels)
    assert store.splits == ("training", "validation", "test")
    for split in map(store.read, store.splits):
        assert split.label_set == store.labels
        assert [store.labels[code] for code in split.labels] == [
            {"bored": "bored", "ennuyé": "ennuyé"}.get(path.split("/")[0], "very engaged, 80 %") for path in split.paths
        ]
        assert set(split.labels.tolist()) == {0, 1, 2}  # every class in every split
    assert sum(len(store.read(name)) for name in store.splits) == 60
    index = read_index(store, progress=lambda *_: None)
    assert index.labels == store.labels
    assert np.bincount(index.label).tolist() == [20, 10, 30]


def test_seven_folders_in_another_order_are_the_seven(call: Call, tmp_path: Path) -> None:
    home = folders(tmp_path / "pictures", dict.fromkeys(reversed(SEVEN), 3))
    call("data", "build", "--source", f"folder={home}", "--labels", "own", "--workers", "1", "-o", tmp_path / "s")
    assert call.status == 0, call.err
    assert "the expressions of the protocol" in call.err
    assert Store.open(tmp_path / "s").labels == SEVEN


def test_a_table_keeps_people_together_and_may_rename(call: Call, tmp_path: Path) -> None:
    with (tmp_path / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["image", "label", "person"])
        for i in range(60):
            picture(i).save(tmp_path / f"{i}.png")
            table.writerow([f"{i}.png", ("1", "2.0", "skip")[i % 3], i // 6])
    (tmp_path / "recipe.yaml").write_text(
        "sources: [{source: csv, path: labels.csv, names: {1: pain, 2: no pain, skip: null}}]\nlabels: own\n"
    )
    call("data", "build", tmp_path / "recipe.yaml", "--workers", "1", "-o", tmp_path / "store")
    assert call.status == 0, call.err
    store = Store.open(tmp_path / "store")
    assert store.labels == ("no pain", "pain")
    homes: dict[int, set[str]] = {}
    for name in store.splits:
        for path in store.read(name).paths:
            homes.setdefault(int(path.removesuffix(".png")) // 6, set()).add(name)
    assert len(homes) == 10
    assert all(len(splits) == 1 for splits in homes.values())


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ({"smile": 4}, "expected two classes or more, got smile"),
        ({"smile": 4, "nothing": 0}, "got none in"),
        ({"smile": 2, "other": 9}, "groups with smile"),
        ({"train": 4, "smile": 4}, "found both"),
    ],
)
def test_folders_that_cannot_be_a_store(call: Call, tmp_path: Path, classes: dict[str, int], said: str) -> None:
    home = folders(tmp_path / "pictures", classes)
    call("data", "build", "--source", f"folder={home}", "--labels", "own", "--workers", "1", "-o", tmp_path / "s")
    assert call.status == 2
    assert said in call.err
    assert call.err.count("error:") == 1


def test_own_is_for_own_pictures_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="labels are expressions"):
        open_source("fer2013", tmp_path, own=True)
    with pytest.raises(DataError, match="classes of your own"):
        open_source("folder", folders(tmp_path / "p", {"asleep": 1, "happy": 1}))  # without it: still refused


@pytest.mark.skipif(os.name == "nt", reason="no such names of folders")
def test_the_data_card_shows_the_names(call: Call, tmp_path: Path) -> None:
    """As markdown-it, which comes with rich, reads the table."""
    markdown_it = pytest.importorskip("markdown_it")
    names = {"a|b <i>": 5, "*not* `_x_": 5}
    home = folders(tmp_path / "pictures", names)
    call("data", "build", "--source", f"folder={home}", "--labels", "own", "--workers", "1", "-o", tmp_path / "s")
    assert call.status == 0, call.err
    text = (tmp_path / "s" / "README.md").read_text("utf-8").partition("\n# ")[2]
    assert "are classes of the user's own" in text
    assert "what a person feels" not in text

    def cells(source: str) -> list[str]:
        tokens = markdown_it.MarkdownIt("commonmark").enable("table").parse(source)
        lines = [token.children or [] for token in tokens if token.type == "inline"]
        return ["".join(one.content for one in line if one.type in ("text", "text_special")) for line in lines]

    assert set(names) <= set(cells(text))
    assert not set(names) <= set(cells(text.replace("\\", "")))  # negative control: without the escapes
