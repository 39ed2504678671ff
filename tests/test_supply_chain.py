"""``scripts/supply_chain.py``, the lock, and the files by which people report, cite and contribute."""

import json
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import supply_chain  # noqa: E402

CLEAN = {"name": "a", "version": "1.0", "vulns": []}
KNOWN = {"name": "b", "version": "2.0", "vulns": [{"id": "CVE-2026-1", "fix_versions": ["2.1"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI"}


def test_findings_are_told_apart_from_what_was_not_looked_up() -> None:
    known, skipped = supply_chain.findings(json.dumps({"dependencies": [CLEAN, KNOWN, SKIPPED]}))
    assert known == ["b 2.0: CVE-2026-1, fixed in 2.1"]
    assert skipped == ["c: Dependency not found on PyPI"]
    assert supply_chain.findings(json.dumps({"dependencies": [CLEAN]})) == ([], [])


@pytest.mark.parametrize(
    ("packages", "status", "said"),
    [
        ([CLEAN], 0, "no known vulnerability"),
        ([CLEAN, KNOWN], 1, "vulnerable: b 2.0"),
        ([CLEAN, SKIPPED], 1, "not looked up: c"),  # pip-audit itself exits with 0 here
    ],
)
def test_what_nobody_searched_is_not_clean(packages, status, said, monkeypatch, capsys) -> None:
    def run(*words: str):
        out = json.dumps({"dependencies": packages}) if words[0] == "pip-audit" else ""
        return supply_chain.subprocess.CompletedProcess(words, 0, out, "")

    monkeypatch.setattr(supply_chain, "run", run)
    assert supply_chain.audit() == status
    assert said in capsys.readouterr().out


def test_the_lock_has_what_pyproject_asks_for_each_by_hash() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))
    packages = {package["name"]: package for package in lock["package"]}
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = asked["optional-dependencies"]
    told = {entry["name"] for entry in packages["mien"]["dependencies"]}
    names = {line.split("[")[0].split(">")[0].split("=")[0].split("<")[0].lower() for line in asked["dependencies"]}
    assert told == names
    assert set(packages["mien"]["optional-dependencies"]) == set(extras)
    for name, package in packages.items():
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        assert name == "mien" or files, name
        assert all(file["hash"].startswith("sha256:") and file["url"].startswith("https://") for file in files), name


@pytest.mark.parametrize("file", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda file: file.name)
def test_what_github_reads_is_yaml(file: Path) -> None:
    assert isinstance(yaml.safe_load(file.read_text("utf-8")), dict)


def test_the_citation_has_the_projects_version_and_licence() -> None:
    from mien import __version__

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert cited["version"] == __version__.split("+")[0]
    assert cited["license"] == "Apache-2.0"
