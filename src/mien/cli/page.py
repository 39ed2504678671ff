"""``mien page``: the page that reads faces in the browser, as static files; the work is in ``webpage``."""

from pathlib import Path

import typer


def page(
    folder: Path = typer.Argument(..., metavar="DIR", help="Folder for the files; created if it does not exist."),
    model: list[str] = typer.Option(
        ["nano", "compact"],
        "--model",
        metavar="NAME|FILE.onnx",
        help="compact, nano, or a file made by mien export; can be repeated, with readers of the same classes. "
        "The first is loaded with the page.",
    ),
    onnxruntime: Path | None = typer.Option(
        None,
        "--onnxruntime",
        metavar="FILE.tgz",
        help="npm's tarball of onnxruntime-web, if this machine cannot fetch it.",
        show_default=False,
    ),
) -> None:
    """Write the page that reads faces in the browser, for any web server: pictures never leave the browser.

    Fetches ONNX Runtime Web from npm's registry once (33 MB, checked by its hash) and caches it; mien serve then shows
    the same page at /. docs/page.md says how to host it.

    [bold]Examples[/bold]

      [cyan]mien page site[/cyan]
      [cyan]mien page site --model engaged.onnx[/cyan]
      [cyan]python -m http.server --directory site 8000[/cyan]
      [cyan]mien page site --onnxruntime onnxruntime-web-1.30.0.tgz[/cyan]
    """
    import sys

    from mien.webpage.files import page_files
    from mien.webpage.onnxruntime_web import obtain
    from mien.webpage.write import write_page

    size = write_page(page_files(obtain(onnxruntime), model), folder)
    print(f"{folder}: {size / 1e6:.1f} MB; serve it over https, or from this machine", file=sys.stderr)
