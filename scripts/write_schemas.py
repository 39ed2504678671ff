"""The JSON schemas of recipes and of the files that mien writes, from their types: docs/schemas/NAME.json.

python scripts/write_schemas.py           writes them
python scripts/write_schemas.py --check   exit status 1 where one is not up to date (a test runs this)
"""

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from mien.bulk.manifest import Manifest
from mien.data.audit.result import Audit
from mien.data.build.recipe import BuildRecipe
from mien.data.summary import Summary
from mien.evaluation.analysis.report import AnalysisReport
from mien.evaluation.report import Report
from mien.reproduce.result import Table
from mien.serving.schema import ResultModel
from mien.training.recipe import Recipe

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"
#: The file's name → what is in it.
MODELS: dict[str, type[BaseModel]] = {
    "report": Report,
    "analysis": AnalysisReport,
    "table": Table,
    "audit": Audit,
    "summary": Summary,
    "reading": ResultModel,
    "manifest": Manifest,
    "recipe": Recipe,
    "build-recipe": BuildRecipe,
}


def schema(model: type[BaseModel]) -> str:
    """The schema of a model as a file's content."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(head | model.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write or check every schema; the exit status."""
    texts = {FOLDER / f"{name}.json": schema(model) for name, model in MODELS.items()}
    stale = [file for file, text in texts.items() if not file.is_file() or file.read_text("utf-8") != text]
    for file in stale:
        if "--check" in sys.argv:
            print(f"docs/schemas/{file.name} is not what python scripts/write_schemas.py writes", file=sys.stderr)
        else:
            file.write_text(texts[file], "utf-8")
            print(f"wrote docs/schemas/{file.name}", file=sys.stderr)
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
