"""What a user does with the page, in a real Chromium: photos, video, camera, download, and all that can go wrong."""

import csv
import re
import shutil
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from static_site import Site, Tab

from mien.results import table_columns
from mien.webpage import onnxruntime_web
from mien.webpage.files import POLICY, PageFile, page_files

MakeModel = Callable[..., Path]


@pytest.fixture(scope="module")
def clip(frames: list[Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of the frames, in VP8: what every Chromium plays."""
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("clip") / "clip.webm"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libvpx", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 320, 240, "yuv420p", 2_000_000
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_image(frame)))
        output.mux(stream.encode())
    return path


def start_camera(tab: Tab) -> None:
    tab.page.click("#camera")
    tab.page.click("#agree")
    tab.page.wait_for_selector("#stop", state="visible")


def test_photos_one_by_one_and_several(tab: Tab, astronaut: Path, grace_hopper: Path) -> None:
    tab.choose(astronaut)
    assert tab.text("#faces .top") == "happy"
    assert "1 face" in tab.text("#caption")
    tab.choose(grace_hopper, astronaut)
    assert tab.page.locator("#strip button").count() == 3
    assert tab.text("#status").startswith("astronaut.png: 1 face. Face 1: happy,")
    tab.page.locator("#strip button").nth(1).focus()
    tab.page.keyboard.press("Enter")
    assert tab.text("#faces .top") == "neutral"
    assert len(tab.readings()) == 3
    tab.clear()
    assert tab.page.is_visible("#drop")
    assert tab.page.locator(".face").count() == 0


def test_a_reader_of_ones_own(
    browser: Any, page: dict[str, PageFile], make_model: MakeModel, clip: Path, astronaut: Path, tmp_path: Path
) -> None:
    runtime = {name: page[f"runtime/{name}"].content for name in onnxruntime_web.FILES}
    models = [str(shutil.copy(make_model(("awake", "half <i>awake", "ásleep")), tmp_path / f"{n}.onnx")) for n in "abc"]
    with Site(page_files(runtime, models)) as site, Tab.opened(browser, site) as tab:
        tab.ready()
        tab.choose(astronaut)
        assert tab.text("#faces .top") in ("awake", "half <i>awake", "ásleep")
        tab.choose(clip)
        assert "half <i>awake" in tab.text("#timeline .legend")
        assert list(csv.DictReader(StringIO(tab.download("csv"))).fieldnames or ()) == list(
            table_columns(("awake", "half <i>awake", "ásleep"))
        )
        site.change = lambda path, content: None if path == "models/c.onnx" else content
        tab.pick("input[value=b]")
        tab.page.wait_for_selector("#models:not([aria-busy])")
        tab.pick("input[value=c]")  # is missing: the second stays, not the first
        tab.page.wait_for_selector("#alert", state="visible")
        assert tab.page.is_checked("input[value=b]")
        assert all("404" in error for error in tab.errors)


def test_dropped_and_pasted(tab: Tab, astronaut: Path) -> None:
    code = """([bytes, kind]) => {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from(bytes)], "seen.png", { type: "image/png" }));
      const options = { bubbles: true, cancelable: true };
      document.body.dispatchEvent(kind === "drop" ? new DragEvent(kind, { ...options, dataTransfer: data })
        : new ClipboardEvent(kind, { ...options, clipboardData: data }));
    }"""
    with Image.open(astronaut) as photo:
        stream = BytesIO()
        photo.resize((200, 200)).save(stream, "PNG")
    for count, kind in enumerate(("drop", "paste"), 1):
        tab.page.evaluate(code, [list(stream.getvalue()), kind])
        tab.until(lambda count=count: tab.count() == count)  # type: ignore[misc]
        assert tab.text("#faces .top") == "happy"


def test_a_video_has_a_person_a_timeline_and_a_table(tab: Tab, clip: Path) -> None:
    tab.choose(clip)
    assert tab.text("#timeline figure .strong") == "Person 1"
    assert tab.page.locator("#timeline canvas").count() == 1
    assert tab.text("#timeline .legend").startswith("angry")
    rows = list(csv.DictReader(StringIO(tab.download("csv"))))
    assert list(rows[0]) == list(table_columns())
    assert {row["track"] for row in rows} == {"1"}
    assert {row["source"] for row in rows} == {"clip.webm"}
    times = [float(row["time_s"]) for row in rows]
    assert times[0] < 0.05
    assert 0.45 < times[-1] < 0.6
    assert max(np.diff(times)) < 0.22
    assert sorted(set(times)) == times
    assert len(times) > 2
    raw = np.array([float(row["raw_happy"]) for row in rows])
    smooth = np.array([float(row["happy"]) for row in rows])
    assert smooth[0] == pytest.approx(raw[0], abs=1e-3)
    mean, weight = 0.0, 0.0  # the causal form: weights fall by e in half of 0.4 seconds
    for i, p in enumerate(raw):
        keep = np.exp(-(times[i] - times[i - 1]) / 0.2) if i else 0.0
        mean, weight = keep * mean + np.log(p), keep * weight + 1
        assert smooth[i] == pytest.approx(np.exp(mean / weight), abs=0.03)


@pytest.mark.long
@pytest.mark.parametrize("sets_back", [True, False])
def test_a_machine_that_falters_loses_nothing_of_a_video(browser: Any, site: Site, clip: Path, sets_back: bool) -> None:
    """The page stands still for 0.3 s while the clip plays. Negative control: not set back, it has a gap."""
    with Tab.opened(browser, site) as tab:
        tab.ready()
        tab.page.evaluate(
            """(setsBack) => {
          const real = createImageBitmap;
          let count = 0;
          window.createImageBitmap = (...of) => {
            const video = of[0];
            if (video instanceof HTMLVideoElement && ++count === 3) {
              const stand = () => {
                if (video.paused) return setTimeout(stand, 1);
                for (const end = performance.now() + 300; performance.now() < end; );
              };
              setTimeout(stand, 1);
            }
            return real(...of);
          };
          const video = document.querySelector("#video");
          const set = () => setTimeout(() => video.onseeked(), 1);
          if (!setsBack) Object.defineProperty(video, "currentTime", { get: () => 0, set });
        }""",
            sets_back,
        )
        tab.choose(clip)
        times = [0.0, *(float(row["time_s"]) for row in csv.DictReader(StringIO(tab.download("csv")))), 0.6]
        assert (max(np.diff(times)) < 0.22) == sets_back


def test_the_camera_asks_first_and_sends_nothing(browser: Any, site: Site, page: dict[str, PageFile]) -> None:
    """No request while it runs; what tries to leave is refused in page and worker, and leaves without the policy."""
    leave = """async (address) => {
      const tries = [fetch(address).then(() => "left", () => "refused")];
      const code = `fetch(${JSON.stringify(address)}).then(() => postMessage("left"), () => postMessage("refused"))`;
      tries.push(new Promise((resolve) => {
        const source = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
        const worker = new Worker(source, { type: "module" });
        worker.onmessage = ({ data }) => resolve(data);
      }));
      return Promise.all(tries);
    }"""
    with Site({"index.html": PageFile(b"", "text/html")}) as other:
        other.headers["Access-Control-Allow-Origin"] = "*"
        with Tab.opened(browser, site) as tab:
            tab.ready()
            tab.page.click("#camera")
            assert tab.page.is_visible("#consent")
            assert tab.page.evaluate("document.querySelector('#video').srcObject") is None
            tab.page.keyboard.press("Escape")
            assert not tab.page.is_visible("#consent")
            tab.page.evaluate("navigator.serviceWorker.ready.then(() => null)")
            start_camera(tab)
            tab.page.wait_for_selector(".face")
            asked, requests = len(site.asked), len(tab.requests)
            tab.page.wait_for_timeout(2000)
            assert site.asked[asked:] == []
            assert [url for url in tab.requests[requests:] if not url.startswith("blob:")] == []
            assert all(url.startswith((site.url, "blob:" + site.url)) for url in tab.requests)
            # whoever is not seen for a second is somebody new, which happens on a busy machine
            assert re.fullmatch(r"Person \d", tab.text(".face .name"))
            assert tab.page.is_disabled("#models input[value=compact]")
            assert tab.errors == []
            assert tab.page.evaluate(leave, other.url + "index.html") == ["refused", "refused"]
            assert other.asked == []
            tab.page.click("#stop")
            tab.page.wait_for_selector("#stop", state="hidden")
            assert tab.page.evaluate("document.querySelector('#video').srcObject") is None
            rows = list(csv.DictReader(StringIO(tab.download("csv"))))
            assert {row["source"] for row in rows} == {"camera:0"}
            assert tab.page.is_visible("#picture")
        site.change = lambda path, content: content.replace(POLICY.encode(), b"default-src * blob: 'unsafe-inline'")
        try:
            with Tab.opened(browser, site, service_workers="block") as tab:
                assert tab.page.evaluate(leave, other.url + "index.html") == ["left", "left"]
        finally:
            site.change = None
        assert other.asked == ["index.html", "index.html"]


def test_a_second_camera_session_keeps_the_first(browser: Any, site: Site) -> None:
    """And it begins without the faces of the first, which stand beside what the camera sees until it is read."""
    watch = """() => {
      window.begun = [];
      const stop = document.querySelector("#stop");
      const shown = () => [document.querySelectorAll(".face").length, document.querySelector("#caption").textContent];
      const note = () => stop.hidden || window.begun.push(shown());
      new MutationObserver(note).observe(stop, { attributeFilter: ["hidden"] });
    }"""
    with Tab.opened(browser, site) as tab:
        tab.ready()
        tab.page.evaluate(watch)
        for _ in range(2):
            start_camera(tab)
            tab.page.wait_for_selector(".face")
            tab.page.click("#stop")
            tab.page.wait_for_selector("#stop", state="hidden")
        sources = [row["source"] for row in csv.DictReader(StringIO(tab.download("csv")))]
        assert list(dict.fromkeys(sources)) == ["camera:0", "camera:0 (2)"]
        assert tab.page.evaluate("window.begun") == [[0, "camera:0"], [0, "camera:0 (2)"]]


@pytest.mark.parametrize("button", ["clear", "stop"])
def test_stop_and_clear_reach_what_waits(browser: Any, site: Site, clip: Path, tmp_path: Path, button: str) -> None:
    """Three videos are chosen; while the first plays the button is pressed, and no other begins."""
    videos = [tmp_path / f"v{n}.webm" for n in range(3)]
    for video in videos:
        shutil.copy(clip, video)
    with Tab.opened(browser, site) as tab:
        tab.ready()
        tab.page.set_input_files("#files", [str(video) for video in videos])
        tab.page.wait_for_selector("#stop", state="visible")
        tab.page.click(f"#{button}")
        tab.page.wait_for_selector("#stop", state="hidden")
        tab.page.wait_for_timeout(1500)
        assert tab.count() == (0 if button == "clear" else 1)
        tab.choose(videos[2])  # the control: what is chosen afterwards is read
        assert tab.text("#caption").startswith("v2.webm")


def test_a_refused_camera_and_none_at_all(browser: Any, site: Site) -> None:
    with Tab.opened(browser, site, permissions=[]) as tab:
        tab.ready()
        for name, told in (
            ("NotAllowedError", "expected permission to use the camera, got a refusal; allow the camera"),
            ("NotFoundError", "expected a camera, found none; connect one"),
        ):
            tab.page.evaluate(
                "name => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', name)); }",
                name,
            )
            tab.page.click("#camera")
            tab.page.click("#agree")
            tab.until(lambda told=told: told[1:] in tab.alert())  # type: ignore[misc]
            assert not tab.page.is_visible("#stop")
        assert tab.errors == []


def test_files_that_cannot_be_read(tab: Tab, grace_hopper: Path, tmp_path: Path) -> None:
    content = grace_hopper.read_bytes()
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (50_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    cases = {
        "half.jpg": (content[: len(content) // 2], "unreadable", "got a damaged picture"),
        "words.png": (b"no picture", "unreadable", "got a file that this browser does not know"),
        "empty.jpg": (b"", "empty", "got an empty file"),
        "bomb.png": (bomb, "too_large", "expected at most 100 megapixels, got 50000×50000 (2500 megapixels)"),
        "words.mp4": (b"no video" * 100, "unreadable", "expected a video that this browser plays"),
    }
    for number, (name, (data, kind, told)) in enumerate(cases.items(), 1):
        (tmp_path / name).write_bytes(data)
        tab.page.set_input_files("#files", str(tmp_path / name))
        tab.until(lambda number=number, told=told: tab.count() == number and told in tab.alert())  # type: ignore[misc]
        assert tab.readings()[-1]["error"]["type"] == kind
        assert "Reading" not in tab.text("#status")
    rows = list(csv.DictReader(StringIO(tab.download("csv"))))
    assert [row["error"].partition(":")[0] for row in rows] == [kind for _, kind, _ in cases.values()]
    tab.choose(grace_hopper)
    assert tab.text("#faces .top") == "neutral"


@pytest.mark.long
def test_fifty_megapixels_do_not_stop_the_page(tab: Tab, astronaut: Path, tmp_path: Path) -> None:
    with Image.open(astronaut) as photo:
        face = photo.convert("RGB").resize((4096, 4096), Image.Resampling.NEAREST)
    picture = Image.new("RGB", (8000, 6250), (110, 110, 120))
    picture.paste(face, (2000, 1000))
    picture.save(tmp_path / "large.jpg", quality=60)
    tab.page.evaluate("""() => {
      window.ticks = 0;
      window.counter = setInterval(() => (window.ticks += 1), 20);
    }""")
    tab.choose(tmp_path / "large.jpg")
    assert tab.page.evaluate("window.ticks") >= 10
    tab.page.evaluate("clearInterval(window.counter)")
    (reading,) = tab.readings()
    assert (reading["width"], reading["height"]) == (8000, 6250)
    (found,) = reading["faces"]
    assert found["expression"] == "happy"
    assert found["box"] == pytest.approx([2000 + 8 * 178, 1000 + 8 * 62.6, 8 * 90.4, 8 * 113.9], abs=60)
    assert "was reduced to" in tab.text("#caption")


@pytest.mark.long
def test_it_works_offline_once_loaded(browser: Any, page: dict[str, PageFile], astronaut: Path) -> None:
    with Site(page) as own, Tab.opened(browser, own) as tab:
        tab.ready()
        tab.page.evaluate("navigator.serviceWorker.ready.then(() => null)")
        own.stop()
        tab.page.reload()
        tab.ready()
        tab.choose(astronaut)
        assert tab.text("#faces .top") == "happy"
        tab.pick("#models input[value=compact]")  # was never loaded: told, and nano stays
        tab.until(lambda: "the file models/compact.onnx of this page, got no answer" in tab.alert())
        assert tab.page.is_checked("#models input[value=nano]")


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("models/nano.onnx", lambda content: None, "Expected the file models/nano.onnx of this page, got status 404"),
        ("models/nano.onnx", lambda content: content[:-1], "Expected models/nano.onnx with "),
        ("models/yunet.onnx", lambda content: content[:-1] + b"!", "Expected models/yunet.onnx with SHA-256"),
        ("reading/yunet.js", lambda content: None, "Expected the page's worker to run, got"),
        (
            "index.html",
            lambda content: content.replace(b" 'wasm-unsafe-eval'", b""),
            "that runs WebAssembly, got one that",
        ),
    ],
)
def test_a_page_that_cannot_load(
    browser: Any, site: Site, name: str, change: Callable[[bytes], bytes | None], told: str
) -> None:
    site.change = lambda path, content: change(content) if path == name else content
    try:
        with Tab.opened(browser, site, service_workers="block") as tab:
            tab.until(lambda: told in tab.alert())
            assert tab.page.is_disabled("#choose")
            assert not tab.page.is_visible("#loading")
    finally:
        site.change = None


def test_keyboard_names_and_a_narrow_screen(browser: Any, site: Site, astronaut: Path) -> None:
    """All that can be done has a name and can be reached with Tab; nothing is wider than a phone of 320 pixels."""
    with Tab.opened(browser, site, viewport={"width": 320, "height": 640}) as tab:
        tab.ready()
        tab.choose(astronaut, astronaut)
        reached = []
        tab.page.evaluate("document.activeElement.blur()")
        for _ in range(14):
            tab.page.keyboard.press("Tab")
            reached.append(
                tab.page.evaluate(
                    """() => {
                  const at = document.activeElement;
                  const name = at.getAttribute("aria-label") || at.labels?.[0]?.textContent || at.textContent;
                  const style = getComputedStyle(at.matches("input[type=radio]") ? at.nextElementSibling : at);
                  return [at.id || at.tagName, name.trim(), style.outlineStyle];
                }"""
                )
            )
        seen = {name: (text, outline) for name, text, outline in reached if name != "BODY"}
        assert {"choose", "camera", "csv", "jsonl", "clear"} <= seen.keys()
        assert any(name == "INPUT" for name in seen)
        assert sum(text == "astronaut.png: 1 face" for _, text, _ in reached) == 2
        assert all(text and outline != "none" for text, outline in seen.values()), seen
        wide = tab.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide[0] <= wide[1]
        assert tab.page.get_attribute("#status", "aria-live") == "polite"
        assert tab.page.get_attribute("#alert", "role") == "alert"
