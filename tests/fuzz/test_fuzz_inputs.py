"""A short part of the fuzz suite, always the same, and every input that once found a fault."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.atomic import remove_abandoned
from mien.cli.progress import Progress
from mien.data.sources import Drop
from mien.data.store import Store
from mien.documents import load_yaml
from mien.errors import DataError, ImageError, ModelError, OutputError, RecipeError
from mien.evaluation import evaluate
from mien.evaluation.analysis import outputs as analysis_outputs
from mien.imaging import load_rgb
from mien.imaging.bombs import largest_of_icon, scans
from mien.reading.classifier import Classifier
from mien.reading.outputs import open_writer
from mien.results import ReadFailure
from mien.showable import short, showable
from mien.timeline.summary import summarise
from mien.training.networks import read_meta
from mien.training.recipe import load_recipe, parse_overrides
from mien.video.journal import Journal

from . import attack_pictures, attack_readers, attack_tables
from .analyses import Page
from .attacks import attacks
from .directories import Bulk, OwnClasses, SavedData
from .in_process import Service
from .kinds import Kind, Onnx, Pictures, Videos, kinds, tiny_onnx
from .workbench import Json, Parquet, Tables, Yaml, video_readings

pytestmark = pytest.mark.filterwarnings("ignore")

#: Mutated inputs of each kind; the command runs thousands.
SHORT: dict[type[Kind], int] = {
    Pictures: 40, Videos: 15, Parquet: 60, Tables: 60, Json: 80, Yaml: 40, Onnx: 80, Service: 60,
    Bulk: 15, SavedData: 60, OwnClasses: 10, Page: 20,
}  # fmt: skip
#: Attacks that take a second or a hundred megabytes are for the command.
LARGE = re.compile(
    r"deep|9000|65500x1500|many-pictures|65535-|bomb|of-chunks|of-frames|of-directories|of-scans|larger-png|endless|million|line-without-end|"
    r"many-col|only-quotes|quotes-in|open-quote|pixels-without|zeros|png-bombs|packed|many-heads|many-parts|64-giga|"
    r"of-comments|ten-thousand|sexagesimal|octal|nested-boxes"
)


@pytest.fixture(autouse=True)
def _draws_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds that draw nothing put another ``drawing`` in its place; later tests need the real one."""
    for module in (evaluate, analysis_outputs):
        monkeypatch.setattr(module, "drawing", module.drawing)


@pytest.mark.parametrize("kind", SHORT, ids=lambda kind: kind.name)
def test_no_input_ends_in_a_traceback(kind: type[Kind], tmp_path: Path) -> None:
    """Each is read or refused in one line; ``outcome`` raises for anything else."""
    made = kind(tmp_path)
    found = {made.outcome(*made.case(Random(f"0 {kind.name} {number}"))) for number in range(SHORT[kind])}
    assert found == {"read", "refused"}  # both: mutations neither miss everything nor break everything
    for attack in attacks(kind.name):
        if not LARGE.search(attack.name):
            outcome = made.outcome(attack.file, attack.content())
            assert attack.read is None or outcome == ("read" if attack.read else "refused"), attack.name
    assert not attack_tables.CANARY.exists()


def test_a_fault_is_not_taken_for_a_refusal(tmp_path: Path) -> None:
    """Negative control: what is no error of mien's, or one that is no line to show, does not count as refused."""

    class Broken(Kind):
        name = "broken"

        def run(self, name: str, data: bytes) -> str:
            raise {"a": ZeroDivisionError(), "b": ModelError("a\x1b[2J")}[name]

    broken = Broken(tmp_path)
    with pytest.raises(ZeroDivisionError):
        broken.outcome("a", b"")
    assert broken.outcome("b", b"") == "refused"  # the class itself takes the escape sequence out
    assert "\x1b" not in str(ModelError("a\x1b[2J"))
    assert set(kinds()) >= {kind.name for kind in SHORT}


# --- faults that were found -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: tiny_onnx(**{"mien.labels": "[[1], [2]]"}), "distinct labels"),
        (lambda: tiny_onnx(**{"mien.labels": "[" * 100_000}), "readable metadata"),
        (lambda: tiny_onnx(**{"mien.preprocess": "[" * 100_000}), "preprocess"),
        (lambda: tiny_onnx(**{"mien.preprocess": '{"mean": [1%s], "std": [1]}' % ("0" * 400)}), "preprocess"),
        (lambda: tiny_onnx(**{"mien.provenance": "5"}), "mien.provenance to hold keys"),
        (lambda: tiny_onnx(**{"mien.labels": json.dumps(["\x1b[2J", "b"])}), "distinct labels"),
        (lambda: attack_readers.onnx_outside("/dev/zero"), "got weights in another file"),
        (attack_readers.onnx_loop, r"got a loop \(Loop\)"),
    ],
)
def test_a_reader_is_one_file_that_ends(data: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Classifier.load(data(), threads=1)


def test_weights_beside_the_working_directory_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime would: the outcome of a reader would depend on where the command is called."""
    (tmp_path / "other.bin").write_bytes(bytes(4 * 63))
    monkeypatch.chdir(tmp_path)
    data = attack_readers.onnx_outside("other.bin")
    with pytest.raises(ModelError, match="another file"):
        Classifier.load(data, threads=1)
    import onnxruntime as ort

    ort.InferenceSession(data, providers=["CPUExecutionProvider"])  # control: without the check it is loaded


def test_an_icon_with_a_larger_picture_within_is_refused_before_it_is_decoded() -> None:
    inside = attack_pictures.png(400, 300)
    assert largest_of_icon(attack_pictures.ico(inside)) == (400, 300)
    with pytest.raises(ImageError, match="at most 100,000 pixels, got 400×300"):
        load_rgb(attack_pictures.ico(inside), max_pixels=100_000)
    assert load_rgb(attack_pictures.ico(inside), max_pixels=120_000).shape == (300, 400, 3)


def test_scans_are_counted_as_libjpeg_writes_them() -> None:
    """Its standard scripts: 10 scans of a progressive colour picture, 6 of a grey one, one of a sequential one."""
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    for image, options, expected in ((rgb, {"progressive": True}, 10), (rgb.convert("L"), {"progressive": True}, 6),
                                     (rgb, {}, 1), (rgb.convert("L"), {}, 1)):  # fmt: skip
        stream = io.BytesIO()
        image.save(stream, "JPEG", **options)
        assert scans(stream.getvalue()) == expected
        assert scans(stream.getvalue() + b"\xff\xda" * 99) == expected  # a film behind a photo, as phones write it
    assert scans(attack_pictures.jpeg_of_scans(64, 300)) == 306
    with pytest.raises(ImageError, match="usual ten scans, got 200,006 for 200×200"):
        load_rgb(attack_pictures.jpeg_of_scans(200, 200_000))


@pytest.mark.parametrize("cut", range(20, 800, 60))
def test_a_video_whose_index_is_cut_is_one_record(cut: int, tmp_path: Path) -> None:
    """A stream that damage turned into one of data has no decoder."""
    kind = Videos.__new__(Videos)
    Kind.__init__(kind, tmp_path)
    from mien import Reader

    from .kinds import clip

    kind.reader = Reader(tiny_onnx(), detector="none", threads=1)
    data = clip(tmp_path / "seed.mp4", sound="aac")
    kind.outcome("a.mp4", data[: len(data) - cut])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (attack_tables.LAUGHS.decode(), "references that stand for more than 100,000 values"),
        ("a: &a [*a]", "too deep, or contain themselves"),
        ("epochs: " + "9" * 5000, "more than 64 bits"),
        ("epochs: 0" + "7" * 5000, "more than 64 bits"),
        ("name: 2001-99-99", "month must be in"),
        ("name: !!python/object/apply:os.getpid []", "could not determine a constructor"),
    ],
)
def test_yaml_that_multiplies(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_yaml(text)
    if text.startswith(("epochs", "name: 2")):
        with pytest.raises(RecipeError, match="expected a YAML value"):
            load_recipe("nano", overrides=parse_overrides([text.replace(": ", "=")]))
    assert load_yaml("a: &x [1, 2]\nb: *x\nc: 9223372036854775807") == {"a": [1, 2], "b": [1, 2], "c": 2**63 - 1}


def test_messages_do_not_quote_values_in_full() -> None:
    nested: Any = ["x"]
    for _ in range(40):
        nested = [nested] * 10
    assert len(short(nested)) < 20_000
    assert len(str(DataError("x" * 10**6))) < 3000


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\x9b31mb", "a\x07b", "a\u202eb", "a\udcffb", "a\x00b"])
def test_nothing_that_a_terminal_obeys_is_shown(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """File names, cells and metadata come from anywhere."""
    for made in (showable(text), str(DataError(text)), ReadFailure("s", "data", text).message, Drop("w", text).reason):
        assert made.startswith("a\ufffd"), made
        assert made.endswith("b")
    with Progress([], shown=False) as progress:
        progress.failure(ReadFailure(text, "data", "m"), tell=True)
        progress.note(text)
    assert capsys.readouterr().err.count("a\ufffd") == 2
    assert showable("Ünï 日本 🙂 عربي") == "Ünï 日本 🙂 عربي"


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("terminal", [True, False])
def test_names_on_a_terminal_and_in_a_pipe(form: str, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks sees a replacement; who reads on gets the name as it is."""
    stream = io.BytesIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    with open_writer(form, output=None, labels=("a", "b"), stdout=stream) as writer:
        writer.write(ReadFailure("x\x9b31m\u202egpj.exe", "missing", "m"))
    assert ("x\x9b31m\u202egpj.exe" in stream.getvalue().decode()) is not terminal
    assert ("x\ufffd31m\ufffdgpj.exe" in stream.getvalue().decode()) is terminal
    assert stream.getvalue().endswith(b"\n")


def test_a_file_name_is_no_markup_of_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """``[/b].mp4`` on a terminal: rich would raise, and ``[bold]`` would be lost."""
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", screen)
    with Progress([], shown=True, single=True) as progress:
        progress.begin_video("[/b][bold].mp4", 4.0)
        progress.frame(1.0, 1)
        progress._bar.refresh()
    assert "[/b][bold].mp4" in screen.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["splits"]["training"].update(rows=None), r"splits\.training\.rows"),
        (lambda s: s["splits"]["training"].update(rows=10**12), "expected (memory|[0-9]+ images)"),
        (lambda s: s["splits"]["training"].update(counts={"sad": "many"}), r"splits\.training\.counts"),
        (lambda s: s["splits"]["training"].pop("rows"), "store's summary"),
        (lambda s: s["splits"]["training"].update(files=["../x.parquet"]), "shards within the store"),
        (lambda s: s["splits"]["training"].update(files=["9" * 400]), "missing 999"),
        (lambda s: s.update(labels=["sad", "sad"]), "distinct labels"),
        (lambda s: s.update(labels=5), "labels"),
    ],
)
def test_a_summary_that_was_changed(small_store: Path, tmp_path: Path, change: Any, message: str) -> None:
    summary = json.loads((small_store / "summary.json").read_text())
    change(summary)
    os.symlink(small_store / "data", tmp_path / "data")
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(DataError, match=message):
        Store.open(tmp_path).read("training")


@pytest.mark.parametrize("column", ["image", "label_code", "votes", "near_duplicate"])
def test_a_shard_without_a_column(small_store: Path, tmp_path: Path, column: str) -> None:
    import pyarrow.parquet as pq

    store = Store.open(small_store)
    (shard,) = store.shards("training")
    (tmp_path / "data").mkdir()
    for file in (small_store / "data").iterdir():
        table = pq.read_table(file)
        pq.write_table(table.drop_columns([column]) if file == shard else table, tmp_path / "data" / file.name)
    (tmp_path / "summary.json").write_bytes((small_store / "summary.json").read_bytes())
    with pytest.raises(DataError, match="expected shards of ours for 'training'"):
        Store.open(tmp_path).read("training")


@pytest.mark.parametrize("column", ["source", "time_s", "confidence", "track"])
def test_a_table_without_a_column(tmp_path: Path, column: str) -> None:
    text = video_readings(tmp_path, "csv").decode()
    (tmp_path / "a.csv").write_text(text.replace(column, "other", 1))
    with pytest.raises(DataError, match=f"without the columns {column}"):
        summarise(str(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    "meta", [{"labels": 5}, {"data": 5}, {"labels": ["x"] * 5000}, {"labels": [1, 2]}, {"result": []}]
)
def test_a_meta_json_that_was_changed(tmp_path: Path, meta: dict[str, Any]) -> None:
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match="expected "):
        read_meta(tmp_path)


# --- what killed processes leave --------------------------------------------------------------------------------------


WRITES = """
import sys
from mien.atomic import AtomicFile
file = AtomicFile(sys.argv[1])
file.stream.write(b"theirs")
print("begun", flush=True)
sys.stdin.read()
file.commit()
"""


def test_two_calls_never_share_a_journal(tmp_path: Path) -> None:
    """Both would append to it, and the second to end would have frames twice."""
    path, about = str(tmp_path / "j" / "a.jsonl"), {"labels": ["a", "b"]}
    first = Journal(path, about)
    with pytest.raises(OutputError, match=r"expected to be alone with .*another mien read writes there"):
        Journal(path, about)
    first.close()
    Journal(path, about).close()


def test_a_half_is_taken_away_by_its_lock_and_not_by_its_time(tmp_path: Path) -> None:
    """One that a killed process left goes, also where it is from tomorrow; one that is being written stays."""
    target = tmp_path / "out.csv"
    left = tmp_path / ".out.csv.0123abcd.tmp"
    left.write_bytes(b"half")
    os.utime(left, (2**32, 2**32))
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", WRITES, str(target)], stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "begun\n"
        (theirs,) = [file for file in tmp_path.iterdir() if file != left]
        os.utime(theirs, (1, 1))
        remove_abandoned(target)
        assert list(tmp_path.iterdir()) == [theirs]
        other.stdin.close()
    assert target.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [target]
