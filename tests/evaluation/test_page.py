"""report.html: one file, no request to anywhere, the report's own figures, nothing in a name is executed."""

import base64
import re
from pathlib import Path

import pytest

from eval_store import file_report, hot, leaky_store, model_report, picture, write_answers
from figure_texts import overlaps
from html_pages import Page, is_only_text, with_bad_names
from list_source import Listed
from mien import drawing
from mien.data.build.run import build_store
from mien.data.sources import Sample
from mien.data.store import Store
from mien.evaluation import page, page_figures
from mien.evaluation.predictions_file import read_predictions_file
from mien.evaluation.predictors import load_predictor
from mien.labels import EIGHT
from mien.pages import environment, format


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return leaky_store(tmp_path_factory.mktemp("page") / "store", labels=EIGHT, images=160, copied=40)


@pytest.fixture(scope="module")
def whole(store: Store, make_model, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A report with every section that a model can have."""
    out = tmp_path_factory.mktemp("whole")
    model = load_predictor(str(make_model(labels=EIGHT)))
    report = model_report(model, store, "test", out, tta=True, group_by=("group", "source"), command="mien evaluate …")
    return report, out


def test_it_needs_no_other_file_and_asks_nobody(whole) -> None:  # type: ignore[no-untyped-def]
    report, out = whole
    content = (out / "report.html").read_text("utf-8")
    found = Page(content)
    assert len(found.images()) == len(list(out.glob("*.svg"))) == 6
    assert all(source.startswith("data:image/svg+xml;base64,") for source in found.images())
    assert not {tag for tag, _ in found.tags} & {"script", "link", "iframe", "object", "base", "form"}
    assert not any(key in attrs for _, attrs in found.tags for key in ("href", "onload", "onclick", "srcset"))
    assert "url(" not in content
    assert "@import" not in content
    assert re.search(r"https?://", content) is None
    assert "default-src 'none'" in content
    for source in found.images():
        drawn = base64.b64decode(source.partition(",")[2]).decode()
        assert drawn.startswith("<?xml")
        assert not re.search(r'(href|src)="(?!#)(?!data:)', drawn)
    assert report["figures"]["all"]["n"] == 160


def test_it_says_what_the_report_says(whole) -> None:  # type: ignore[no-untyped-def]
    report, out = whole
    words = Page((out / "report.html").read_text("utf-8")).words()
    for part in ("all", "leak_free"):
        figures = report["figures"][part]
        for key in ("accuracy", "macro_f1", "balanced_accuracy", "weighted_precision", "weighted_f1", "top2_accuracy"):
            assert format.percent(figures[key]) in words, key
        for key in ("nll", "brier", "ece"):
            assert format.number(figures[key]) in words, key
            assert format.number(report["calibration"]["held_out"][part][key]) in words, key
        assert format.percent(report["single_crop"]["figures"][part]["accuracy"]) in words
        assert format.points(report["single_crop"]["ten_minus_single"][part]["difference"]["accuracy"]) in words
        assert format.percent(report["votes"][part]["majority"]) in words
        assert format.percent(report["votes"][part]["vote_share"]) in words
        for reading in ("closed", "open"):
            assert format.percent(report["seven_classes"][reading]["figures"][part]["accuracy"]) in words
        for values in report["groups"]["group"][part]["groups"].values():
            assert format.percent(values["accuracy"], digits=1) in words
        gap = report["groups"]["group"][part]["gaps"]["accuracy"]
        assert format.points(gap) in words
        for row in figures["confusion"]:
            assert " ".join(str(n) for n in row) in words
    assert format.points(report["leak"]["all_minus_leak_free"]) in words
    for name, values in report["figures"]["all"]["per_class"].items():
        assert f"{name} {values['support']} {format.percent(values['precision'], digits=1)}" in words
    for line in report["not_measured"]:
        assert line in words
    assert report["model"]["sha256"] in words
    assert "apparent expression" in words
    assert "No gap: that needs two groups" in words  # by source, of which there is one


def test_the_check_of_figures_can_fail(whole) -> None:  # type: ignore[no-untyped-def]
    report, out = whole
    other = report["figures"]["all"]["accuracy"] | {"value": 0.123456}
    assert format.percent(other) not in (out / "report.html").read_text("utf-8")


def test_labels_stand_in_label_order_everywhere(whole) -> None:  # type: ignore[no-untyped-def]
    report, out = whole
    assert report["figures"]["all"]["labels"] == list(EIGHT)
    content = (out / "report.html").read_text("utf-8")
    heads = re.findall(r"<thead>(.*?)</thead>", content)
    with_labels = [re.findall(r"<th[^>]*>([^<]+)</th>", head) for head in heads if "disgust" in head]
    assert with_labels
    for head in with_labels:
        assert [name for name in head if name in EIGHT] == list(EIGHT)


def test_names_are_shown_and_not_obeyed(store: Store, tmp_path: Path) -> None:
    bad = '<script>alert("x")</script>&<img src=x onerror=y>'
    split = store.read("test")
    file = write_answers(tmp_path / "p.csv", split.paths[:-1], hot(split.labels[:-1], 8), EIGHT)
    groups = tmp_path / "g.csv"
    groups.write_text("path,<b>kind</b>\n" + "\n".join(f"{p},<i>{i % 2}</i>" for i, p in enumerate(split.paths)))
    report = file_report(
        read_predictions_file(file),
        store,
        "test",
        tmp_path / "o",
        name=bad,
        command=bad,
        group_by=(f"{groups}:<b>kind</b>",),
    )
    content = (tmp_path / "o/report.html").read_text("utf-8")
    found = Page(content)
    assert bad in found.words()
    assert "<b>kind</b>" in found.words()
    assert not {"script", "b kind", "i"} & {tag for tag, _ in found.tags}
    assert [attrs for tag, attrs in found.tags if tag == "img" and "onerror" in attrs] == []
    assert report["predictions"]["missing"] == 1
    assert (tmp_path / "o/groups-b-kind-b.png").stat().st_size > 1000


def test_every_text_of_a_report_is_text_on_the_page(whole, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    report, out = whole
    svgs = {file.stem: file.read_bytes() for file in out.glob("*.svg")}
    bad = with_bad_names(report, keep={"kind", "labels"})
    assert is_only_text(page.render(bad, svgs))
    unescaped = environment.environment().overlay(autoescape=False)
    monkeypatch.setattr(environment, "environment", lambda: unescaped)
    assert not is_only_text(page.render(bad, svgs))  # the control


def test_a_blind_report_says_so_and_shows_no_figure(make_model, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    samples = [
        Sample(f"{i}.png", picture(i), "sad" if i < 5 else None, "training" if i < 5 else "test") for i in range(9)
    ]
    build_store([Listed(samples)], tmp_path / "store")
    report = model_report(load_predictor(str(make_model())), Store.open(tmp_path / "store"), "test", tmp_path)
    found = Page((tmp_path / "report.html").read_text("utf-8"))
    assert report["figures"] is None
    assert "labels of this split are held out" in found.words()
    assert found.images() == []
    assert "accuracy" not in found.words()
    assert any("held back" in line for line in report["not_measured"])


def test_the_same_report_is_the_same_page(whole) -> None:  # type: ignore[no-untyped-def]
    report, out = whole
    svgs = {file.stem: file.read_bytes() for file in out.glob("*.svg")}
    assert page.render(report, svgs) == (out / "report.html").read_text("utf-8")


def test_no_text_of_the_figures_crosses_another(whole) -> None:  # type: ignore[no-untyped-def]
    report, _ = whole
    title = "a network with a rather long name, ten crops, on private_test"
    drawn = [
        page_figures.recall_figure(report["figures"], title=title),
        page_figures.votes_figure(report["votes"], title=title),
        page_figures.groups_figure(report["groups"]["group"]["all"], title=title),
    ]
    for figure in drawn:
        assert overlaps(figure) == []


def test_figures_are_the_same_bytes_each_time(whole, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    report, out = whole
    figure = page_figures.votes_figure(report["votes"], title="tiny on test, ten crops")
    assert drawing.save(figure, tmp_path / "votes") == (out / "votes.svg").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["votes.png", "votes.svg"]
    stems = page_figures.group_stems([" Age band / Ünit ", "age band nit", "年齢", "性別"])
    assert list(stems.values()) == ["groups-age-band-nit", "groups-age-band-nit-2", "groups-groups", "groups-groups-2"]
    assert all(page_figures.is_ours(f"{stem}.png") for stem in stems.values())
