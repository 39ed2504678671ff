"""docs/serve.md: the client runs, and the tables of failures are complete."""

import re
import subprocess
import sys
from pathlib import Path

from service import Service, png

from mien.reading.reader import Reader
from mien.serving.problems import KINDS

GUIDE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text("utf-8")


def test_the_client_runs(crops: Service, tiny_model: Path, tmp_path: Path) -> None:
    (client,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len([line for line in client.splitlines() if line.strip()]) <= 10
    (tmp_path / "a.png").write_bytes(png(5))
    command = [sys.executable, "-c", client, "a.png", crops.url]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(Reader(tiny_model, detector="none").read(png(5), name="a.png").to_dict())


def test_every_kind_of_failure_is_in_the_table() -> None:
    for kind in KINDS.keys() - {"missing"}:  # the service is never given a path
        assert f"`{kind}`" in GUIDE, kind


def test_the_routes_of_curl_exist(crops: Service) -> None:
    import httpx

    paths = httpx.get(f"{crops.url}/openapi.json").json()["paths"]
    asked = set(re.findall(r"curl .*http://127\.0\.0\.1:8000(/[\w/]+)", GUIDE))
    assert len(asked) == 3
    assert asked <= set(paths)
