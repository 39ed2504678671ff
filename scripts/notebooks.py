"""Runs the notebooks of docs/notebooks in a Jupyter kernel, each in a directory of its own; a failed cell is an error.

python scripts/notebooks.py [FILE.md …]        needs pip install '.[docs]'; all where none is given
"""

import sys
import tempfile
from pathlib import Path

import jupytext
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]


def main() -> None:
    files = [Path(name) for name in sys.argv[1:]] or sorted((ROOT / "docs" / "notebooks").glob("*.md"))
    for file in files:
        notebook = jupytext.read(file)
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(
                notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}
            ).execute()
        cells = sum(cell.cell_type == "code" for cell in notebook.cells)
        print(f"{file.stem}: {cells} cells ran")


if __name__ == "__main__":
    main()
