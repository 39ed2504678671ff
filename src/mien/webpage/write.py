"""The page as static files in a folder, for any web server."""

from pathlib import Path

from mien.atomic import make_folder, write_bytes
from mien.errors import OutputError
from mien.webpage.files import INDEX, PageFile

LEAST_PACKED = 1024  # bytes; below, a compressed copy saves nothing


def write_page(page: dict[str, PageFile], folder: Path) -> int:
    """Write the files of :func:`mien.webpage.files.page_files`, each with ``NAME.gz`` beside it where that is smaller.

    ``index.html`` comes last, so that a page that is served meanwhile never names a file that is not there yet. Returns
    how many bytes the files have, without the compressed copies. Raises OutputError.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"expected a folder for the page, got the file {folder}", hint="give another name")
    for path in sorted(page, key=lambda path: path == INDEX):
        file, target = page[path], folder / path
        make_folder(target.parent)
        _write(target, file.content)
        if len(file.content) >= LEAST_PACKED:
            _write(target.with_name(f"{target.name}.gz"), file.packed)
    return sum(len(file.content) for file in page.values())


def _write(target: Path, content: bytes) -> None:
    if target.exists() and not (target.is_file() or target.is_dir()):  # writing into a pipe would wait for ever
        raise OutputError(f"expected a file or nothing at {target}, got a pipe or a device", hint="take it away")
    write_bytes(target, content)
