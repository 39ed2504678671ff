"""``mien data audit`` from a store to files: figures, page, sheets, tables, refusals, interruptions; real FER2013."""

import io
import json
import re
import subprocess
import sys
from base64 import b64decode
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest
from audit_stores import LABELS, faces, row, write_store
from PIL import Image
from pydantic import ValidationError
from typer.testing import CliRunner

from html_pages import BAD, is_only_text, with_bad_names
from mien.cli.data import data
from mien.data.audit.examples import Sheet, Tile
from mien.data.audit.index import fetch
from mien.data.audit.page import page
from mien.data.audit.result import Audit
from mien.data.audit.run import audit_store
from mien.data.sources import VOTE_NAMES
from mien.data.store import Store
from mien.errors import DataError, OutputError, UsageError
from mien.pages import environment


def audited(*where: Path, **options: Any) -> dict[str, Any]:
    """What ``audit.json`` holds."""
    return audit_store(*where, **options).content()


FILES = {"audit.json", "audit.html", "images.parquet", "pairs.parquet", "sheets"}


def votes_for(name: str, count: int = 10) -> list[int]:
    return [count if n == name else 10 - count if n == "unknown" else 0 for n in VOTE_NAMES]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training and a test split with copies in it, a blank picture, votes, subjects in both; odd names everywhere."""
    train, test = faces(40, seed=1), faces(12, seed=2)
    train[30] = train[2]
    train[31] = train[3][:, ::-1]
    train[32] = 0
    test[0], test[1] = train[0], train[1] // 2 + 50
    sources = ["drawn"] * 11 + ["<script>"]
    rows = {
        "training": [
            row(x, f"<b>{i}", label=LABELS[i % 7], votes=votes_for("fear", 9), group=f"s{i % 5}&<i>")
            for i, x in enumerate(train)
        ],
        "test": [row(x, f"t{i}", label="sad", group=f"s{i + 4}&<i>", source=sources[i]) for i, x in enumerate(test)],
    }
    return write_store(tmp_path_factory.mktemp("a") / "faces & <more>", rows)


@pytest.fixture(scope="module")
def report(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("b") / "report"
    audited(store, out=out)
    return out


class Page(HTMLParser):
    """Every attribute and all the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.words.append(data)


def test_what_is_written(report, store):
    assert {file.name for file in report.iterdir()} == FILES
    result = json.loads((report / "audit.json").read_text())
    assert result["mien_audit"] == 1
    assert result["store"]["name"] == "faces & <more>"
    assert result["store"]["fingerprint"] == Store.open(store).fingerprint
    assert audited(store) == result  # with no directory, the same figures
    rows = {(r["split"], r["in"]): r for r in result["copies"]["between_splits"]}
    leak = rows["test", "training"]
    assert (leak["images"], leak["identical"], leak["near"]) == (12, 1, 2)
    assert leak["near_with_other_label"] == 2  # sad in test; angry and disgust in Training
    assert rows["training", "training"]["near"] == 4
    assert result["copies"]["mirrored_pairs"] == 1
    assert result["copies"]["groups_of_several_labels"] == 2
    assert result["pictures"]["blank"] == 1
    assert result["groups"]["across_splits"] == 1  # s4
    assert result["votes"]["images"] == 40


def test_findings_are_sorted_and_said_once(report):
    found = json.loads((report / "audit.json").read_text())["findings"]
    levels = [item["level"] for item in found]
    assert levels == sorted(levels, key=["problem", "notice"].index)
    assert len({item["text"] for item in found}) == len(found)
    leak = next(item for item in found if item["id"] == "leak")
    assert leak["text"] == "2 of 12 test images have a near-duplicate in training (1 identical, 1 within 1 of 255)"
    assert leak["level"] == "problem"


def test_a_clean_store_is_said_to_be_clean(tmp_path):
    """Negative control: nothing is found where nothing is."""
    rows = [row(x, f"{i}", label=LABELS[i % 7]) for i, x in enumerate(faces(14))]
    splits = {"training": rows, "test": [row(x, f"t{i}", label=LABELS[i]) for i, x in enumerate(faces(7, seed=5))]}
    result = audited(write_store(tmp_path / "s", splits), out=tmp_path / "out")
    assert [item["level"] for item in result["findings"]] == ["good"]
    assert [file.name for file in (tmp_path / "out/sheets").iterdir()] == ["extremes.png"]


def test_the_page_stands_alone_and_escapes(report):
    found = Page((report / "audit.html").read_text(encoding="utf-8"))
    assert not {"script", "link", "iframe", "object", "b3"} & set(found.tags)
    links = [value for _, name, value in found.attributes if name in ("src", "href", "srcset", "data", "action")]
    assert links
    assert all(link.startswith(("data:image/", "#")) for link in links)
    assert not re.search(r"url\(|@import", (report / "audit.html").read_text())
    text = "".join(found.words)
    assert "faces & <more>" in text
    assert "s4&<i>" in text
    assert "This report contains images of the data set" in text
    alternatives = [value for tag, name, value in found.attributes if tag == "img" and name == "alt" and value]
    assert len(alternatives) == found.tags.count("img")
    anchors = {value for _, name, value in found.attributes if name == "id"}
    assert {link[1:] for link in links if link[0] == "#"} <= anchors


@pytest.mark.filterwarnings("ignore:Glyph 7")  # of a chart: no font has a control character
def test_every_text_of_an_audit_is_text_on_the_page(report, monkeypatch):
    bad = with_bad_names(json.loads((report / "audit.json").read_text()), keep={"level", "by", "label"})
    sheet = Sheet("leaks", BAD, BAD, ((Tile(3, (BAD, BAD), warn=True), Tile(3, (BAD,))),), 9, BAD)
    images = {3: Image.new("L", (48, 48))}
    content = page(bad, [sheet], images)
    assert is_only_text(content)
    assert "default-src 'none'" in content
    unescaped = environment.environment().overlay(autoescape=False)
    monkeypatch.setattr(environment, "environment", lambda: unescaped)
    assert not is_only_text(page(bad, [sheet], images))  # the control


def test_pictures_in_the_page_are_the_images(report, store):
    """A blank picture, a chart, and the closest copy of the test split, decoded from the page."""
    found = Page((report / "audit.html").read_text(encoding="utf-8"))
    tags = [value for tag, name, value in found.attributes if tag == "img" and name in ("src", "title")]
    decoded = {}
    for source, title in pairwise(tags):
        if title.startswith("image ") and source.startswith("data:image/png"):
            decoded[int(title.split()[1])] = np.asarray(Image.open(io.BytesIO(b64decode(source.split(",")[1]))))
    assert {32, 41} <= set(decoded)
    for picture in fetch(Store.open(store), list(decoded)):
        assert np.array_equal(picture.pixels, decoded[picture.number])
    charts = [b64decode(s.split(",")[1]) for s in tags if s.startswith("data:image/svg")]
    assert len(charts) == 4
    for chart in charts:
        assert ElementTree.fromstring(chart).tag.endswith("svg")


def test_contact_sheets(report):
    names = {file.stem for file in (report / "sheets").iterdir()}
    assert names == {"leaks", "mirrored", "conflicts", "votes-against", "blank", "extremes", "subjects"}
    for file in (report / "sheets").iterdir():
        with Image.open(file) as sheet:
            assert sheet.width == 1200
            assert len(sheet.getcolors(1 << 20)) > 20


def test_the_table_of_images_is_what_splits_need(report, store):
    table = pq.read_table(report / "images.parquet").to_pandas()
    assert len(table) == 52
    assert table.image.tolist() == list(range(52))
    assert table.path[2] == "<b>2"
    groups = table.groupby("duplicate_group").image.apply(list)
    assert [members for members in groups if len(members) > 1] == [[0, 40], [1, 41], [2, 30], [3, 31]]
    assert table.identical_to.dropna().to_dict() == {30: 2, 40: 0}
    assert table.near_duplicate_in_training[[0, 2, 40, 41, 42]].tolist() == [False, True, True, True, False]
    assert table.picture.dropna().to_dict() == {32: "blank"}
    assert table.votes_majority[:40].unique().tolist() == ["fear"]
    assert table.votes_for_label[[1, 2]].tolist() == pytest.approx([0, 0.9])
    assert table.votes_majority[40:].isna().all()
    pairs = pq.read_table(report / "pairs.parquet").to_pylist()
    assert [(p["first"], p["second"], p["mirrored"]) for p in sorted(pairs, key=lambda p: p["first"])] == [
        (1, 41, False),
        (3, 31, True),
    ]


def test_the_same_store_gives_the_same_bytes(report, store, tmp_path):
    audited(store, out=tmp_path / "again")
    for file in sorted(report.rglob("*.*")):
        assert (tmp_path / "again" / file.relative_to(report)).read_bytes() == file.read_bytes(), file


# --- any store --------------------------------------------------------------------------------------------------------


def test_rgb_mixed_sizes_no_votes_no_labels_broken_pictures(tmp_path):
    random = np.random.default_rng(0)
    large = random.integers(0, 255, (2, 224, 160, 3), dtype=np.uint8)
    pictures = [*large, *faces(3, side=64), faces(1, side=8)[0], large[0], None, b"x" * 50]
    rows = [row(x, f"{i}") for i, x in enumerate(pictures)]
    result = audited(write_store(tmp_path / "s", {"all": rows}, labels=()), out=tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES
    assert result["images"]["unreadable"] == 2
    assert result["votes"] is None
    assert result["groups"] is None
    assert result["pictures"]["below_12_pixels"] == 1
    assert [(s["width"], s["height"], s["mode"], s["images"]) for s in result["pictures"]["sizes"]] == [
        (64, 64, "grey", 3),
        (160, 224, "RGB", 3),
        (8, 8, "grey", 1),
    ]
    assert {item["id"] for item in result["findings"]} == {"unreadable", "copies", "small", "sizes"}


def test_generated_images_are_counted_apart(tmp_path):
    images = faces(4)
    rows = [row(x, f"{i}", label="sad", generated_from=None) for i, x in enumerate(images)]
    rows += [row(images[0] // 2, "4", label="sad", generated_from="0")]
    rows += [row(images[1] // 2, "5", label="sad", votes=votes_for("fear"), generated_from="gone")]
    result = audited(write_store(tmp_path / "s", {"training": rows}))
    assert result["images"]["searched"] == 4
    assert result["generated"] == {"images": 2, "without_original_in_split": 1}
    assert result["labels"]["by_split"][0]["images"] == 6
    assert result["labels"]["originals_by_split"][0]["images"] == 4
    assert result["votes"] is None  # the generated one repeats what was said of its original
    problem = next(item for item in result["findings"] if item["id"] == "generated")
    assert problem["level"] == "problem"


def test_a_wrong_column_in_the_store_is_found(tmp_path):
    images = faces(6)
    rows = {
        "training": [row(x, f"{i}") for i, x in enumerate(images)],
        "test": [row(images[i], f"t{i}", near_duplicate=i != 2) for i in range(3)],
    }
    result = audited(write_store(tmp_path / "s", rows))
    assert result["copies"]["column_near_duplicate"] == {"marked": 2, "found": 3, "differ": 1}
    assert any(item["id"] == "column" for item in result["findings"])


def test_faces_with_a_detector_of_ones_own(store, tmp_path):
    class Half:
        name = "half"

        def detect(self, image):
            return [None, None] if image.mean() > 120 else []

    result = audited(store, out=tmp_path / "out", detector=Half(), workers=2)
    table = pq.read_table(tmp_path / "out/images.parquet").to_pandas()
    assert result["settings"]["faces"] == "half"
    assert result["faces"]["searched"] == 52
    assert result["faces"]["none"] == (table.faces == 0).sum()
    assert np.array_equal(table.faces == 2, table.brightness > 120)
    assert (tmp_path / "out/sheets/no-face.png").is_file()


# --- refusals and interruptions ---------------------------------------------------------------------------------------


def test_where_a_report_may_not_go(store, tmp_path):
    with pytest.raises(OutputError, match="expected a directory outside of the store"):
        audited(store, out=store / "report")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/images.parquet").write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"found images.parquet of something else"):
        audited(store, out=tmp_path / "mine")
    assert (tmp_path / "mine/images.parquet").read_bytes() == b"precious"
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make it"):
        audited(store, out=tmp_path / "file")


def test_wrong_options_and_stores(store, tmp_path):
    for wrong, message in (
        ({"threshold": 1.0}, "threshold of 0.5 up to 1"),
        ({"tolerance": -1}, "tolerance of 0 to 16"),
        ({"examples": 0}, "at least 1 example"),
    ):
        with pytest.raises(UsageError, match=message):
            audited(store, **wrong)
    with pytest.raises(DataError, match="expected a store"):
        audited(tmp_path)


@pytest.mark.parametrize("stage", ["reading the images", "looking for near-duplicates", "writing the report"])
def test_an_interrupted_audit_leaves_the_earlier_one(store, tmp_path, stage):
    out = tmp_path / "out"
    audited(store, out=out, examples=4)
    before = {file: file.read_bytes() for file in out.rglob("*.*")}

    def stop(done: int, total: int, what: str) -> None:
        if what == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audited(store, out=out, progress=stop)
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before


def test_an_earlier_report_is_replaced(store, tmp_path):
    out = tmp_path / "out"
    audited(store, out=out)
    (out / "notes.txt").write_text("mine")
    clean = write_store(tmp_path / "s", {"training": [row(x, f"{i}") for i, x in enumerate(faces(5))]})
    audited(clean, out=out)
    assert {file.name for file in out.iterdir()} == FILES | {"notes.txt"}
    assert [file.name for file in (out / "sheets").iterdir()] == ["extremes.png"]


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command(store, tmp_path):
    result = CliRunner().invoke(data, ["audit", str(store), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    head, *lines = result.stdout.splitlines()
    assert head == "52 images, 52 searched for copies"
    assert lines[0].startswith("problem  2 of 12 test images have a near-duplicate in training")
    assert "it contains images of the data set" in result.stderr
    as_json = CliRunner().invoke(data, ["audit", str(store), "--json"])
    assert json.loads(as_json.stdout) == json.loads((tmp_path / "out/audit.json").read_text())
    wrong = CliRunner().invoke(data, ["audit", str(tmp_path)])
    assert isinstance(wrong.exception, DataError)


def test_importing_the_command_is_light():
    code = (
        "import sys, mien.cli.data_audit; print([m for m in ('numpy', 'pyarrow', 'PIL', 'torch') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_audit_json_is_what_its_type_says(report: Path) -> None:
    content = json.loads((report / "audit.json").read_text())
    assert Audit.model_validate(content).content() == content
    with pytest.raises(ValidationError, match="Extra inputs"):  # the control
        Audit.model_validate(content | {"more": 1})


@pytest.mark.fer2013
@pytest.mark.long
def test_fer2013_has_its_known_copies_and_votes(fer2013_audit):
    """The known copies, blank pictures and votes of FER2013, from the files to the report."""
    folder = fer2013_audit[0]
    result = json.loads((folder / "audit.json").read_text())
    rows = {(r["split"], r["in"]): r for r in result["copies"]["between_splits"]}
    degrees = ("identical", "within", "near")
    assert [rows["private_test", "training"][d] for d in degrees] == [288, 296, 365]
    assert [rows["public_test", "training"][d] for d in degrees] == [280, 289, 332]
    training = rows["training", "training"]
    assert (training["strict"], training["strict_with_nearest_of_other_label"]) == (2469, 119)
    assert training["strict_with_other_label"] == 164
    assert result["copies"]["column_near_duplicate"] == {"marked": 697, "found": 697, "differ": 0}
    assert (result["pictures"]["blank"], result["pictures"]["near_blank"]) == (12, 3)
    assert result["votes"]["agreement_of_8_in_10"] == 16628
    assert 0.5 < result["votes"]["agreement_of_8_in_10_share"] < 0.55  # "a little over half"
    assert (folder / "audit.html").stat().st_size < 6_000_000
