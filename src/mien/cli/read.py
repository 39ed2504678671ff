"""``mien read``: options, progress and exit status; the work is in ``reading``."""

import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

from mien.cli.streams import silence_stdout

if TYPE_CHECKING:
    from mien.reading.items import Stream
    from mien.reading.outputs import Writer
    from mien.reading.pictures import PictureFolder
    from mien.reading.reader import Reader


class Format(StrEnum):
    """Of the output."""

    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


class Device(StrEnum):
    """Where networks run."""

    cpu = "cpu"
    cuda = "cuda"


class Precision(StrEnum):
    """Of the reader's network."""

    auto = "auto"
    fp32 = "fp32"
    int8 = "int8"


class DetectorName(StrEnum):
    """How faces are found."""

    yunet = "yunet"
    centerface = "centerface"
    none = "none"


OUT, FACES, SPEED = "Output", "Faces and model", "Speed and limits"


def read(
    paths: list[str] = typer.Argument(
        metavar="PATH...",
        help="Pictures, directories (recursive), quoted globs, Parquet files with an [bold]image[/bold] column, "
        "data: URLs, or [bold]-[/bold] for a list of paths on stdin.",
        show_default=False,
    ),
    output: str | None = typer.Option(
        None,
        "-o",
        "--output",
        metavar="FILE",
        help="Write here instead of to stdout; the suffix .jsonl, .csv or .parquet gives the format. "
        "The file appears only when all inputs have been read.",
        rich_help_panel=OUT,
    ),
    format: Format | None = typer.Option(
        None,
        "--format",
        help="jsonl: one object per picture. csv, parquet: one row per face. \\[default: the suffix of -o, or jsonl]",
        show_default=False,
        rich_help_panel=OUT,
    ),
    annotate: str | None = typer.Option(
        None,
        "--annotate",
        metavar="DIR",
        help="Save a copy of each picture there, with box, label and probabilities of each face.",
        rich_help_panel=OUT,
    ),
    quiet: bool = typer.Option(
        False, "--quiet", "-q", help="No progress, notes or summary on stderr.", rich_help_panel=OUT
    ),
    detector: DetectorName = typer.Option(
        DetectorName.yunet,
        "--detector",
        help="How faces are found. centerface is slower and needs the extra thorough; "
        "none takes each picture as one face crop.",
        rich_help_panel=FACES,
    ),
    detect_size: int | None = typer.Option(
        None,
        "--detect-size",
        metavar="PIXELS",
        help="Longer side at which faces are searched: larger finds smaller ones. \\[default: chosen for each picture]",
        rich_help_panel=FACES,
    ),
    min_score: float | None = typer.Option(
        None,
        "--min-score",
        metavar="P",
        help="Leave out faces with a lower detection score, 0-1. \\[default: yunet 0.6, centerface 0.4]",
        show_default=False,
        rich_help_panel=FACES,
    ),
    min_face: float | None = typer.Option(
        None,
        "--min-face",
        metavar="PIXELS",
        help="Leave out faces whose box is smaller: its shorter side, in pixels of the picture.",
        show_default=False,
        rich_help_panel=FACES,
    ),
    turned: bool = typer.Option(
        True,
        "--turned/--no-turned",
        help="Also find faces in photos that are sideways or upside down, and drop false detections. "
        "A picture without a face is searched four times.",
        rich_help_panel=FACES,
    ),
    model: str = typer.Option(
        "compact",
        "--model",
        metavar="NAME|FILE.onnx",
        help="compact (accurate), nano (fast), or a file made by mien export.",
        rich_help_panel=FACES,
    ),
    tta: bool = typer.Option(
        False,
        "--tta",
        help="Mean over ten crops of each face: somewhat better, ten times slower.",
        rich_help_panel=FACES,
    ),
    min_confidence: float = typer.Option(
        0.0,
        "--min-confidence",
        metavar="P",
        help="Below this probability, 0-1, the expression is null.",
        rich_help_panel=FACES,
    ),
    threads: int | None = typer.Option(
        None,
        "--threads",
        metavar="N",
        help="CPU threads. \\[default: all cores]",
        show_default=False,
        rich_help_panel=SPEED,
    ),
    device: Device = typer.Option(
        Device.cpu,
        "--device",
        help="cuda: on an NVIDIA GPU, with the package onnxruntime-gpu in place of onnxruntime.",
        rich_help_panel=SPEED,
    ),
    precision: Precision = typer.Option(
        Precision.auto,
        "--precision",
        help="Of a shipped model. auto: int8 where the processor computes it exactly (VNNI, ARM), else fp32, "
        "to which the published figures belong.",
        rich_help_panel=SPEED,
    ),
    batch_size: int = typer.Option(
        64, "--batch-size", metavar="N", help="Face crops per forward pass, across pictures.", rich_help_panel=SPEED
    ),
    max_pixels: int = typer.Option(
        100_000_000,
        "--max-pixels",
        metavar="N",
        help="Larger pictures (width × height) are refused before they are decoded.",
        rich_help_panel=SPEED,
    ),
) -> None:
    """Read the expressions of all faces in pictures.

    Results go to stdout (JSON Lines by default), messages to stderr.
    A picture that cannot be read gets an error record; the others are still read.
    Exit status: 0 all read, 1 some inputs failed, 2 wrong usage.

    [bold]Examples[/bold]

    One photo, and an annotated copy:
      [cyan]mien read photo.jpg --annotate seen[/cyan]

    A folder into a table:
      [cyan]mien read photos/ -o faces.csv[/cyan]

    Face crops of a data set, ten crops each:
      [cyan]mien read crops.parquet --detector none --tta -o out.parquet[/cyan]

    From a list, with expressions of a confidence of at least 0.6:
      [cyan]find . -name '*.jpg' | mien read - --min-confidence 0.6[/cyan]
    """
    from mien.reading import outputs

    output = None if output == "-" else output
    chosen = outputs.choose_format(format.value if format else None, output)

    from mien.reading.inputs import expand
    from mien.reading.reader import Reader

    reader = Reader(
        model,
        detector=detector.value,
        threads=threads,
        detect_size=detect_size,
        tta=tta,
        min_confidence=min_confidence,
        min_score=min_score,
        min_face=min_face,
        turned=turned,
        device=device.value,
        precision=precision.value,
        max_pixels=max_pixels,
        batch_size=batch_size,
    )
    pictures = None
    if annotate is not None:
        from mien.reading.pictures import PictureFolder, refuse_overwriting

        for path in paths:
            if os.path.exists(path):
                refuse_overwriting(path, annotate)
        pictures = PictureFolder(annotate)
    items = expand(paths, stdin=sys.stdin.buffer, exclude=[annotate] if annotate else [])
    with outputs.open_writer(chosen, output=output, labels=reader.labels, stdout=sys.stdout.buffer) as writer:
        failed = _run(reader, items, paths, writer=writer, pictures=pictures, quiet=quiet)
    if failed:
        raise typer.Exit(1)


def _run(
    reader: "Reader",
    items: "Stream",
    paths: list[str],
    *,
    writer: "Writer",
    pictures: "PictureFolder | None",
    quiet: bool,
) -> int:
    """Read, write, annotate and report; returns how many inputs failed."""
    from mien.cli.progress import Progress
    from mien.results import ReadFailure

    single = len(paths) == 1 and os.path.isfile(paths[0]) and not paths[0].lower().endswith((".parquet", ".pq"))
    with Progress(paths, shown=not quiet and not single) as progress:
        for result in reader.stream(
            items, keep_pictures=pictures is not None, on_note=None if quiet else progress.note
        ):
            try:
                writer.write(result.reading)
            except BrokenPipeError:  # | head has seen enough
                silence_stdout()
                break
            if isinstance(result.reading, ReadFailure):
                progress.failure(result.reading, tell=not quiet)
                continue
            progress.advance(len(result.reading.faces))
            if pictures is not None and result.picture is not None and result.item is not None:
                pictures.save(result.picture, result.reading, result.item)
    return progress.failed
