"""Checks pages with axe-core (Deque) in Chromium, in light and dark: contrast, names for screen readers, structure.

    python scripts/accessibility.py report.html audit.html …      exit status 1 where a rule of WCAG 2.1 AA is broken

Needs `pip install playwright axe-playwright-python` (which carries axe-core) and Chromium ($CHROMIUM, or on PATH).
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice")


def violations(browser: Any, page: Path, scheme: str, width: int) -> list[str]:
    """A line for each broken rule: its id, how grave, what it asks, and the first elements.

    scheme: light or dark. width: of the window in pixels; in a narrow one, tables scroll.
    """
    from axe_playwright_python.sync_playwright import Axe

    size: Any = {"width": width, "height": 900}
    # the pages forbid scripts, and axe-core is one
    context = browser.new_context(color_scheme=scheme, viewport=size, bypass_csp=True)
    try:
        tab = context.new_page()
        tab.goto(page.resolve().as_uri())
        tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        options = {"runOnly": {"type": "tag", "values": list(TAGS)}, "resultTypes": ["violations"]}
        found = Axe().run(tab, options=options).response["violations"]
    finally:
        context.close()
    lines = []
    for rule in found:
        nodes = "; ".join(" ".join(node["html"].split())[:140] for node in rule["nodes"][:3])
        lines.append(f"{rule['id']} ({rule['impact']}, {len(rule['nodes'])}): {rule['help']}: {nodes}")
    return lines


def main() -> None:
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    pages, broken = [Path(name) for name in sys.argv[1:]], 0
    if not pages or chromium is None:
        sys.exit(__doc__ if not pages else "error: expected Chromium on PATH or in $CHROMIUM, found none")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for page in pages:
            for scheme, width in (("light", 1280), ("dark", 1280), ("light", 360)):
                found = violations(browser, page, scheme, width)
                broken += len(found)
                print(f"{page.name}, {scheme}, {width} px: {len(found)} rules broken")
                print("".join(f"  {line}\n" for line in found), end="")
        browser.close()
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
