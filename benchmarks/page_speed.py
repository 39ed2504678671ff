"""How many frames a second the page reads in headless Chromium, on one thread, and what a frame costs the processor.

    mien page site && python benchmarks/page_speed.py site --frame FRAME.jpg --model nano

The frame (640×480 with one face, for the published figure) is read as a camera's frames are: decoded, searched,
tracked, read, smoothed. Wall times hold on a quiet machine alone; the CPU time of the browser's renderer, from Linux's
schedstat, holds on a busy one too, though other work slows a core that it shares.
"""

import argparse
import base64
import functools
import http.server
import json
import os
import shutil
import threading
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

START = """async ([frame, model]) => {
  const { Engine } = await import(new URL("ui/engine.js", document.baseURI));
  const engine = new Engine(() => {});
  await engine.call("start");
  await engine.call("choose", { model });
  await engine.call("begin");
  const blob = new Blob([Uint8Array.from(atob(frame), (letter) => letter.charCodeAt(0))]);
  let count = 0;
  window.readFrames = async (wanted) => {
    const times = [];
    for (let i = 0; i < wanted; i++) {
      const bitmap = await createImageBitmap(blob);
      const began = performance.now();
      const asked = { bitmap, timeS: count++ / 25, source: "" };
      const { reading, bitmap: back } = await engine.call("frame", asked, [bitmap]);
      times.push(performance.now() - began);
      back.close();
      window.faces = reading.faces.length;
    }
    return times;
  };
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A static server that says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        pass


def renderer_ms() -> float:
    """CPU milliseconds of the renderer processes that this script's browser has had so far."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"--type=renderer" in (folder / "cmdline").read_bytes() and is_ours(int(folder.name)):
                total += sum(int(file.read_text().split()[0]) for file in folder.glob("task/*/schedstat"))
        except OSError:  # it has ended
            continue
    return total / 1e6


def is_ours(process: int) -> bool:
    """Whether a process descends from this one."""
    while process > 1 and process != os.getpid():
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return process > 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path)
    parser.add_argument("--frame", type=Path, required=True)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--frames", type=int, default=60)
    options = parser.parse_args()
    handler = functools.partial(Quiet, directory=str(options.site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    chromium = os.environ.get("MIEN_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_selector("html[data-ready]", state="attached", timeout=120_000)
        page.evaluate(START, [base64.b64encode(options.frame.read_bytes()).decode(), options.model])
        page.evaluate("readFrames(15)")  # compiled, and tracked
        before, began = renderer_ms(), time.monotonic()
        times = sorted(page.evaluate(f"readFrames({options.frames})"))
        seconds, cpu = time.monotonic() - began, renderer_ms() - before
        faces, version = page.evaluate("window.faces"), browser.version
        browser.close()
    result = {
        "model": options.model,
        "faces": faces,
        "frames_a_second": round(options.frames / seconds, 1),
        "median_ms": round(times[len(times) // 2], 1),
        "fastest_ms": round(times[0], 1),
        "cpu_ms_a_frame": round(cpu / options.frames, 1),
        "load": os.getloadavg()[0],
        "chromium": version,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
