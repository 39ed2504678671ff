"""The page reads as Python does: the same photos in a real Chromium and with ``Reader``."""

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from static_site import Site, Tab

from called import Call
from mien import Reader
from mien.results import Box, table_columns
from mien.video.tracking import Tracker
from mien.webpage.files import PageFile

PROBABILITY, PIXELS = 0.005, 1.0
TURNED_90, TURNED_180, MIRRORED = 6, 3, 2  # EXIF's numbers


@pytest.fixture
def call(tiny_model: Path) -> Call:
    return Call(tiny_model)


@pytest.fixture
def photos(astronaut: Path, grace_hopper: Path, tmp_path: Path) -> dict[str, Path]:
    """Photos by what is particular about them; real faces."""
    collins, hopper = (Image.open(path).convert("RGB") for path in (astronaut, grace_hopper))

    def save(name: str, picture: Image.Image, **options: Any) -> Path:
        picture.save(tmp_path / name, **options)
        return tmp_path / name

    def exif(orientation: int) -> Image.Exif:
        made = Image.Exif()
        made[0x0112] = orientation
        return made

    group = Image.new("RGB", (1100, 640), (120, 130, 140))
    group.paste(collins, (20, 60))
    group.paste(hopper.resize((400, 469)), (560, 20))
    group.paste(collins.resize((200, 200)), (900, 420))
    large = Image.new("RGB", (5200, 3900), (90, 110, 90))
    large.paste(collins.resize((2000, 2000), Image.Resampling.BICUBIC), (400, 700))
    large.paste(hopper.resize((700, 820), Image.Resampling.BICUBIC), (3500, 2000))
    through = collins.convert("RGBA")
    through.putalpha(Image.linear_gradient("L").resize(collins.size).point(lambda value: 128 + value // 2))
    return {
        "plain": astronaut,
        "jpeg": grace_hopper,
        "group": save("group.png", group),
        "turned": save("turned.png", collins.transpose(Image.Transpose.ROTATE_90)),
        "tilted": save("tilted.png", collins.rotate(-18, Image.Resampling.BICUBIC)),
        "exif": save("exif.jpg", hopper.transpose(Image.Transpose.ROTATE_90), quality=95, exif=exif(TURNED_90)),
        "large": save("large.jpg", large, quality=92),
        "small": save("small.png", collins.crop((160, 40, 290, 190)).resize((120, 138))),
        "tight": save("tight.png", collins.crop((176, 64, 270, 178))),
        "transparent": save("transparent.png", through),
        "grey": save("grey.png", hopper.convert("L")),
        "nobody": save("nobody.png", Image.linear_gradient("L")),
    }


def read_by_page(tab: Tab, site: Site, photos: dict[str, Path]) -> dict[str, tuple[dict[str, dict[str, Any]], str]]:
    """Model → what the page read of each photo, and its CSV. The second model is chosen when all photos are there."""
    found = {}
    tab.choose(*photos.values())
    found["nano"] = (_by_name(tab, photos), tab.download("csv"))
    asked = len(site.asked)
    tab.pick("#models input[value=compact]")
    tab.until(lambda: tab.text("#status") == "Read again with compact")
    found["compact"] = (_by_name(tab, photos), tab.download("csv"))
    assert "models/compact.onnx" in site.asked[asked:]
    assert "models/compact.onnx" not in site.asked[:asked]
    tab.clear()
    tab.pick("#models input[value=nano]")
    tab.until(lambda: tab.text("#status") == "Reading with nano")
    return found


def _by_name(tab: Tab, photos: dict[str, Path]) -> dict[str, dict[str, Any]]:
    read = {reading["source"]: reading for reading in tab.readings()}
    return {name: read[path.name] for name, path in photos.items()}


def difference(one: dict[str, Any], other: dict[str, Any]) -> tuple[float, float]:
    """The greatest of the probabilities, and of the boxes in pixels of a photo of 1,000; infinite for other faces."""
    if len(one["faces"]) != len(other["faces"]) or (one["width"], one["height"]) != (other["width"], other["height"]):
        return float("inf"), float("inf")
    unit = max(1.0, max(one["width"], one["height"]) / 1000)
    pairs = list(zip(one["faces"], other["faces"], strict=True))
    p = [abs(a["probabilities"][name] - value) for a, b in pairs for name, value in b["probabilities"].items()]
    box = [abs(u - v) / unit for a, b in pairs for u, v in zip(a["box"], b["box"], strict=True)]
    return max(p, default=0.0), max(box, default=0.0)


@pytest.mark.long
def test_the_same_probabilities_boxes_and_table(loaded: Tab, site: Site, photos: dict[str, Path], call: Call) -> None:
    """One test, because the workers of pytest-xdist would each read all photos for several."""
    found = read_by_page(loaded, site, photos)
    for model, (theirs, _) in found.items():
        reader = Reader(model, precision="fp32", threads=1)
        ours = {name: reader.read(path, name=path.name).to_dict() for name, path in photos.items()}
        counts = {name: len(reading["faces"]) for name, reading in ours.items()}
        assert counts["group"] == 3
        assert counts["nobody"] == 0
        assert min(count for name, count in counts.items() if name != "nobody") >= 1
        apart = {name: difference(theirs[name], ours[name]) for name in ours}
        assert max(p for p, _ in apart.values()) <= PROBABILITY, apart
        assert max(box for _, box in apart.values()) <= PIXELS, apart
        for name, reading in ours.items():
            for mine, other in zip(reading["faces"], theirs[name]["faces"], strict=True):
                assert mine["expression"] == other["expression"]
                angles = [other["roll"], other["yaw"], other["pitch"]]
                assert [mine["roll"], mine["yaw"], mine["pitch"]] == pytest.approx(angles, abs=1.0)
    check_table(found["nano"][1], [photos[name] for name in ("plain", "group", "nobody")], call)


def check_table(table: str, files: list[Path], call: Call) -> None:
    """The page's CSV has the command's header and rows."""
    call("read", *files, "--model", "nano", "--precision", "fp32", "--threads", "1", "--format", "csv")
    ours = list(csv.DictReader(StringIO(call.out)))
    assert table.partition("\n")[0] == call.out.partition("\n")[0] == ",".join(table_columns())
    names = {file.name for file in files}
    theirs = [row for row in csv.DictReader(StringIO(table)) if row["source"] in names]
    assert len(theirs) == len(ours) == 5
    for mine, other in zip(ours, theirs, strict=True):
        assert Path(mine.pop("source")).name == other.pop("source")
        for column, text in mine.items():
            if column in ("face", "expression", "track", "error") or "" in (text, other[column]):
                assert text == other[column], column
            else:
                assert float(other[column]) == pytest.approx(float(text), abs=0.15), column
                assert ("." in text) == ("." in other[column]), column


@pytest.mark.long
def test_other_numbers_give_other_probabilities(browser: Any, page: dict[str, PageFile], grace_hopper: Path) -> None:
    """Negative control: a crop that is a tenth larger."""
    told = json.loads(page["settings.json"].content)
    told["geometry"]["side"] *= 1.1
    told["geometry"]["tight"] *= 1.1
    bent = page | {"settings.json": PageFile(json.dumps(told).encode(), "application/json")}
    reader = Reader("nano", precision="fp32", threads=1)
    with Site(bent) as other, Tab.opened(browser, other) as tab:
        tab.ready()
        tab.choose(grace_hopper)
        (read,) = tab.readings()
        assert difference(read, reader.read(grace_hopper).to_dict())[0] > PROBABILITY


def test_tracks_are_pythons(tab: Tab) -> None:
    """The numbers of persons who cross, hide and jump, over 150 frames, from both trackers."""
    random = np.random.default_rng(5)
    scene = []
    for frame in range(150):
        time_s, boxes = frame / 15, []
        for person in range(5):
            x = 320 + 260 * np.sin(0.5 * time_s * (person + 1) + person) + (90 if frame == 70 else 0)
            hidden = (frame + 17 * person) % 50 < 4 * person
            if not hidden:
                boxes.append([float(x), 60.0 + 70 * person, *(60 + 8 * random.random(2)).tolist()])
        scene.append((time_s, [boxes[i] for i in random.permutation(len(boxes))]))
    tracker = Tracker()
    ours = [tracker.update(t, [Box(*box) for box in boxes], width=640, height=480) for t, boxes in scene]
    code = """async ([scene, memory]) => {
      const { Tracker } = await import(new URL("reading/tracking.js", document.baseURI));
      const settings = (await (await fetch("settings.json")).json()).tracking;
      const tracker = new Tracker({ ...settings, memory_s: memory ?? settings.memory_s });
      return scene.map(([t, boxes]) => tracker.update(t, boxes.map(([x, y, w, h]) => ({ x, y, w, h })), 640, 480));
    }"""
    assert tab.page.evaluate(code, [scene, None]) == ours
    assert max(max(row, default=0) for row in ours) > 5  # some came back as others, so there was something to decide
    assert tab.page.evaluate(code, [scene, 0.1]) != ours  # another memory gives other numbers


def test_resampling_is_pillows_to_the_bit(tab: Tab) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    bilinear, cubic = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
    box = (0.3, 0.7, 80.2, 60.0)
    matrix = (0.8, 0.3, -2.2, -0.3, 0.8, 10.7)
    affine = Image.Transform.AFFINE
    cases: list[tuple[str, list[Any], Any]] = [
        ("resize", [20, 31], picture.resize((20, 31), bilinear)),
        ("resize", [200, 100], picture.resize((200, 100), bilinear)),
        ("resize", [83, 61, box], picture.resize((83, 61), bilinear, box=box)),
        ("resize", [9, 7, box], picture.resize((9, 7), bilinear, box=box)),
        ("resize", [20, 31, box, "BOX"], picture.resize((20, 31), Image.Resampling.BOX, box=box)),
        ("resize", [59, 44, box, "BOX"], picture.resize((59, 44), Image.Resampling.BOX, box=box)),
        ("reduce", [3], picture.reduce(3)),
        ("reduce", [7], picture.reduce(7)),
        ("affine", [60, 50, matrix], picture.transform((60, 50), affine, matrix, resample=bilinear)),
        ("affine", [60, 50, matrix, {"cubic": True}], picture.transform((60, 50), affine, matrix, resample=cubic)),
        ("rotate", [-31, 127], picture.rotate(-31, bilinear, fillcolor=(127,) * 3)),
        ("turn", [1], np.rot90(pixels)),
        ("grey", [], picture.convert("L")),
    ]
    code = """async ([pixels, width, height, cases]) => {
      const pillow = await import(new URL("reading/pillow.js", document.baseURI));
      const picture = { width, height, data: Uint8Array.from(pixels) };
      const given = (arg) => (typeof arg === "string" ? pillow[arg] : arg); // a filter by its name
      const made = cases.map(([name, args]) => pillow[name](picture, ...args.map(given)));
      return made.map((one) => Array.from(one.data ?? one));
    }"""
    asked = [[name, args] for name, args, _ in cases]
    made = tab.page.evaluate(code, [pixels.ravel().tolist(), 83, 61, asked])
    for (name, args, want), got in zip(cases, made, strict=True):
        assert got == np.asarray(want).ravel().tolist(), (name, args)
    assert made[0] != np.asarray(picture.resize((20, 31), Image.Resampling.BOX)).ravel().tolist()
