"""report.json as types: every committed report is one, to the byte; a torn one is named; the schema is current."""

import json
from pathlib import Path
from typing import Any

import pytest

from called import run_script
from mien.errors import DataError
from mien.evaluation.report import Report

ROOT = Path(__file__).parents[2]
REPORTS = sorted((ROOT / "results").rglob("report.json"))


def test_every_committed_report_is_read_and_written_alike() -> None:
    assert REPORTS
    for file in REPORTS:
        again = json.dumps(Report.read(file.parent).as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        assert again == file.read_text("utf-8"), file


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "none"}, r"seed: Input should be a valid integer"),
        ({"data": {}}, r"data\.store: Field required"),
        ({"mood": 1}, r"mood: Extra inputs are not permitted"),
        ({"temperature": float("nan")}, r"temperature: Input should be a finite number"),
        ({"figures": {"some": {}}}, r"figures\.some.*'all' or 'leak_free'"),
    ],
)
def test_what_is_wrong_with_a_report_is_said_in_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (tmp_path / "report.json").write_text(json.dumps(json.loads(REPORTS[0].read_text("utf-8")) | changes))
    with pytest.raises(DataError, match=message) as caught:
        Report.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_report_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected an evaluation with report\.json in .*No such file"):
        Report.read(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(DataError, match="cannot read it: JSON: Invalid JSON"):
        Report.read(tmp_path)


def test_the_schemas_are_current_and_know_which_keys_may_be_absent() -> None:
    status, _, stale = run_script("write_schemas", "--check")
    assert status == 0, stale
    schema = json.loads((ROOT / "docs/schemas/report.json").read_text("utf-8"))
    assert {"figures", "data", "seed"} <= set(schema["required"])
    assert not {"votes", "groups", "seconds"} & set(schema["required"])
