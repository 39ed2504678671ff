"""Checks pages with axe-core (Deque) in Chromium, in light and dark: contrast, names for screen readers, structure.

    python scripts/accessibility.py report.html audit.html site/ http://127.0.0.1:8000/ …

A folder is served, and its index.html checked: `mien page` and the documentation's site load scripts. Exit status 1
where a rule of WCAG 2.1 AA, or of axe's best practice, is broken. Needs the extra `dev`: the package
axe-playwright-python carries axe-core, playwright drives Chromium ($MIEN_CHROMIUM, or on PATH).
"""

import os
import shutil
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice")
VIEWS = (("light", 1280), ("dark", 1280), ("light", 360))


def axe_core() -> str:
    """axe-core's script."""
    spec = find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("expected axe-core, found none: pip install axe-playwright-python")
    return (Path(spec.origin).parent / "axe.min.js").read_text("utf-8")


def broken_rules(tab: Any, script: str) -> list[str]:
    """A line for each broken rule of what a tab shows: its id, how grave, what it asks, and the first elements.

    The tab's context must have ``bypass_csp``: the pages forbid scripts, and axe-core is one.
    """
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    tab.evaluate(script)
    options = {"runOnly": {"type": "tag", "values": list(TAGS)}, "resultTypes": ["violations"]}
    lines = []
    for rule in tab.evaluate("options => axe.run(document, options)", options)["violations"]:
        nodes = "; ".join(" ".join(node["html"].split())[:140] for node in rule["nodes"][:3])
        lines.append(f"{rule['id']} ({rule['impact']}, {len(rule['nodes'])}): {rule['help']}: {nodes}")
    return lines


class _Quiet(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def log_message(self, format: str, *args: Any) -> None:
        pass


def address(page: str) -> str:
    """Where a page is: a folder is served from now on, a file is opened from disk."""
    if page.startswith(("http://", "https://")):
        return page
    if not Path(page).is_dir():
        return Path(page).resolve().as_uri()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=page))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def main() -> None:
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = os.environ.get("MIEN_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    pages, script, broken = sys.argv[1:], axe_core(), 0
    if not pages or chromium is None:
        sys.exit(__doc__ if not pages else "error: expected Chromium on PATH or in $MIEN_CHROMIUM, found none")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for page in pages:
            url = address(page)
            for scheme, width in VIEWS:
                size: Any = {"width": width, "height": 900}
                context = browser.new_context(color_scheme=scheme, viewport=size, bypass_csp=True)  # type: ignore[arg-type]
                tab = context.new_page()
                tab.goto(url)
                found = broken_rules(tab, script)
                context.close()
                broken += len(found)
                print(f"{page}, {scheme}, {width} px: {len(found)} rules broken")
                print("".join(f"  {line}\n" for line in found), end="", flush=True)
        browser.close()
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
