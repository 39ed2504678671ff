"""``mien data``: tables on stdout, messages on stderr, errors with a message."""

import json

import pytest
from typer.testing import CliRunner

from mien.cli.data import data
from mien.errors import OutputError, UsageError


@pytest.fixture
def run():
    runner = CliRunner()

    def call(*words: object):
        return runner.invoke(data, [str(word) for word in words])

    return call


def test_build_then_stats(run, small, tmp_path):
    small.csv(tmp_path / "in")
    result = run("build", "--source", f"fer2013={tmp_path / 'in'}", "-o", tmp_path / "store")
    assert result.exit_code == 0, result.output
    assert "fer2013: layout csv (fer2013.csv)" in result.stderr
    assert "warning: fer2013: training: 80 images, expected 28709" in result.stderr
    stats = run("stats", tmp_path / "store")
    assert stats.exit_code == 0
    assert stats.stdout == result.stdout
    assert stats.stderr == ""
    head, angry, *rest = stats.stdout.splitlines()
    assert head.split() == ["training", "public_test", "private_test"]
    counts = [sum(row.emotion == 0 for row in small.of(split)) for split in head.split()]
    assert angry.split() == ["angry", *map(str, counts)]
    assert ["images", "80", "80", "80"] in [line.split() for line in rest]
    as_json = json.loads(run("stats", tmp_path / "store", "--json").stdout)
    assert as_json == json.loads((tmp_path / "store/summary.json").read_text())


def test_drops_are_said(run, small, tmp_path):
    file = small.csv(tmp_path / "in")
    file.write_text(file.read_text() + "9,1 2 3,Training\n")
    result = run("build", "--source", f"fer2013={file}", "-o", tmp_path / "store")
    assert "warning: fer2013: 1 dropped: emotion out of 0-6 (listed in " in result.stderr
    assert "dropped: 1 emotion out of 0-6" in result.stdout


def test_refusals(run, small, tmp_path):
    small.csv(tmp_path / "in")
    source = f"fer2013={tmp_path / 'in'}"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("")
    assert isinstance(run("build", "--source", source, "-o", tmp_path / "other").exception, OutputError)
    unknown = run("build", "--source", "emotionet=x", "-o", tmp_path / "s").exception
    assert isinstance(unknown, UsageError)
    assert "fer2013" in str(unknown)
    assert isinstance(run("build", "--source", source, "--source", source, "-o", tmp_path / "s").exception, UsageError)
    assert run("build", "-o", tmp_path / "s").exit_code == 2
    assert not (tmp_path / "s").exists()


def test_importing_the_command_is_light():
    import subprocess
    import sys

    heavy = ("numpy", "pyarrow", "PIL", "torch", "sklearn")
    code = f"import sys, mien.cli.data; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_stats_compare_a_split_with_what_was_read_of_it_under_its_name_in_the_store():
    from mien.cli.data_stats import _source

    described = {
        "name": "affectnet", "layout": "folders", "licence": "none", "differences": [], "dropped": {},
        "read": {"training": {"happy": 100}, "validation": {"happy": 20}},
        "counts": {"training": {"happy": 90}, "validation": {"happy": 10}, "test": {"happy": 18}},
    }  # fmt: skip
    lines = _source(described, {"validation": "test"})
    assert lines[2:] == ["  training: 90 of 100 images", "  validation: 10 images", "  test: 18 of 20 images"]
    assert "  validation: 10 of 20 images" in _source(described, {})
