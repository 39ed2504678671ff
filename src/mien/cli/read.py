"""``mien read``: options, progress and exit status; the work is in ``reading``."""

import os
import sys
from enum import StrEnum
from functools import partial

import typer


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


class EngineName(StrEnum):
    """What reads."""

    plain = "plain"
    ray = "ray"


FACES = "Faces and model"
# an option of each part of the help
_out, _faces, _video, _speed, _bulk = (
    partial(typer.Option, rich_help_panel=panel)
    for panel in ("Output", FACES, "Video and camera", "Speed and limits", "Millions of pictures")
)


def read(
    paths: list[str] = typer.Argument(
        metavar="PATH...",
        help="Pictures, videos, directories (recursive), quoted globs, Parquet files with an [bold]image[/bold] "
        "column, data: URLs, [bold]camera:0[/bold], or [bold]-[/bold] for a list of paths on stdin.",
        show_default=False,
    ),
    output: str | None = _out(
        None,
        "-o",
        "--output",
        metavar="FILE",
        help="Write here instead of to stdout; the suffix .jsonl, .csv or .parquet gives the format. "
        "The file appears only when all inputs have been read.",
    ),
    format: Format | None = _out(
        None,
        "--format",
        help="jsonl: one object per picture. csv, parquet: one row per face. \\[default: the suffix of -o, or jsonl]",
    ),
    annotate: str | None = _out(
        None,
        "--annotate",
        metavar="DIR",
        help="Save a copy of each picture and video there, with box, label and probabilities of each face.",
    ),
    timeline: str | None = _out(
        None,
        "--timeline",
        metavar="FILE",
        help="Draw each person's expressions over a video's time: .png, .svg, or .html (one file, offline).",
    ),
    quiet: bool = _out(False, "--quiet", "-q", help="No progress, notes or summary on stderr."),
    detector: DetectorName = _faces(
        DetectorName.yunet,
        "--detector",
        help="How faces are found. centerface is slower and needs the extra thorough; "
        "none takes each picture as one face crop.",
    ),
    detect_size: int | None = _faces(
        None,
        "--detect-size",
        metavar="PIXELS",
        help="Longer side of the picture for face detection: larger finds smaller faces. "
        "\\[default: chosen for each picture]",
    ),
    min_score: float | None = _faces(
        None,
        "--min-score",
        metavar="P",
        help="Leave out faces with a lower detection score, 0-1. \\[default: yunet 0.6, centerface 0.4]",
    ),
    min_face: float | None = _faces(
        None,
        "--min-face",
        metavar="PIXELS",
        help="Leave out faces whose box is smaller: its shorter side, in pixels of the picture.",
    ),
    turned: bool = _faces(
        True,
        "--turned/--no-turned",
        help="Also find faces in photos that are sideways or upside down, and drop false detections. "
        "Detection runs four times on a picture in which no face is found.",
    ),
    model: str = _faces(
        "compact",
        "--model",
        metavar="NAME|FILE.onnx",
        help="compact (accurate), nano (fast), or a file made by mien export.",
    ),
    tta: bool = _faces(
        False, "--tta", help="Mean over ten crops of each face: ten times slower, accuracy changes little."
    ),
    min_confidence: float = _faces(
        0.0,
        "--min-confidence",
        metavar="P",
        help="Below this probability, 0-1, the expression is null (in tables: empty).",
    ),
    fps: float | None = _video(None, "--fps", metavar="N", help="Read N frames a second of a video. \\[default: all]"),
    every: int | None = _video(
        None,
        "--every",
        metavar="N",
        help="Detect faces in every N-th frame and follow them in between. \\[default: six detections a second]",
    ),
    start: float | None = _video(None, "--start", metavar="T", help="Begin at this time, in seconds."),
    end: float | None = _video(None, "--end", metavar="T", help="End at this time, in seconds."),
    smooth: float | None = _video(
        None,
        "--smooth",
        metavar="SECONDS",
        help="Average probabilities over a window of that width around each frame, without lag; for a camera over past "
        "frames, with a lag of half of it. 0: none. \\[default: 0.4]",
    ),
    track: bool = _video(
        True, "--track/--no-track", help="Give each person of a video a number, and keep it from frame to frame."
    ),
    allow_network: bool = _video(False, "--allow-network", help="Also read rtsp:// and http(s):// streams."),
    show: bool = _video(False, "--show", help="Show the camera's picture with the readings in a window."),
    threads: int | None = _speed(None, "--threads", metavar="N", help="CPU threads. \\[default: all cores]"),
    device: Device = _speed(
        Device.cpu, "--device", help="cuda: on an NVIDIA GPU, with the package onnxruntime-gpu in place of onnxruntime."
    ),
    precision: Precision = _speed(
        Precision.auto,
        "--precision",
        help="Of a shipped model. auto: int8 if the processor computes it exactly (VNNI, ARM), else fp32. "
        "The published figures are of fp32.",
    ),
    reduced_jpegs: bool = _speed(
        False,
        "--reduced-jpegs",
        help="Decode JPEGs with a side above 5,504 pixels at reduced size if every face stays large enough: "
        "twice as fast; probabilities change by 0.005 on average and by up to 0.03.",
    ),
    batch_size: int = _speed(64, "--batch-size", metavar="N", help="Face crops per forward pass, across pictures."),
    max_pixels: int = _speed(
        100_000_000,
        "--max-pixels",
        metavar="N",
        help="Larger pictures (width × height) are refused before they are decoded.",
    ),
    engine: EngineName = _bulk(
        EngineName.plain,
        "--engine",
        help="ray: read in worker processes, on this machine or a cluster, into a directory -o DIR of Parquet shards; "
        "each picture exactly once, whatever is killed; the same command resumes. PATH may also be s3://…. "
        "Needs the extra ray.",
    ),
    workers: int | None = _bulk(
        None, "--workers", metavar="N", help="Reading processes of --engine ray, one core each. \\[default: all cores]"
    ),
    address: str | None = _bulk(
        None,
        "--address",
        metavar="HOST:PORT",
        help="Head node of a Ray cluster, or auto. \\[default: this machine alone]",
    ),
    block_size: int | None = _bulk(None, "--block-size", metavar="N", help="Pictures per shard. \\[default: 1000]"),
) -> None:
    """Read the expressions of all faces in pictures and videos.

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

    Millions of pictures, on all cores or a cluster, into a directory of Parquet shards:
      [cyan]mien read s3://bucket/photos --engine ray -o read/[/cyan]

    A video: table, annotated copy with sound, and a page with each person's expressions over time:
      [cyan]mien read clip.mp4 -o clip.csv --annotate seen --timeline clip.html[/cyan]

    From a list, with expressions only at a confidence of at least 0.6:
      [cyan]find . -name '*.jpg' | mien read - --min-confidence 0.6[/cyan]
    """
    from mien.reading import outputs

    output = None if output == "-" else output
    bulk = engine is EngineName.ray
    if bulk:
        from mien.cli.read_bulk import check_options

        output = check_options(
            output,
            format=format.value if format else None,
            device=device.value,
            paths=paths,
            others={"--annotate": annotate, "--timeline": timeline, "--show": show, "--fps": fps, "--every": every}
            | {"--start": start, "--end": end, "--smooth": smooth, "--no-track": not track, "--threads": threads},
        )
    elif stray := [n for n, v in (("--workers", workers), ("--address", address), ("--block-size", block_size)) if v]:
        from mien.errors import UsageError

        raise UsageError(f"{stray[0]} belongs to --engine ray", hint="add --engine ray, or leave it out")
    chosen = "parquet" if bulk else outputs.choose_format(format.value if format else None, output)

    from mien.allocator import keep_memory
    from mien.errors import UsageError
    from mien.reading.reader import Reader
    from mien.video.addresses import is_live
    from mien.video.settings import VideoSettings

    settings = VideoSettings(fps=fps, every=every, start=start, end=end, smooth=smooth, track=track)
    if timeline is not None:
        from mien.timeline.draw import check_timeline

        check_timeline(timeline)
    keep_memory()
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
        reduced_jpegs=reduced_jpegs,
        max_pixels=max_pixels,
        batch_size=batch_size,
    )
    if bulk:
        from mien.cli.read_bulk import run_bulk

        assert output is not None
        run_bulk(reader, paths, output, workers=workers, address=address, block_size=block_size, quiet=quiet)
        return
    if any(is_live(path, allow_network=allow_network) for path in paths):
        from mien.cli.read_live import read_live

        job = (reader, settings, paths, chosen, output, timeline)
        read_live(*job, allow_network=allow_network, annotate=annotate, show=show, quiet=quiet)
        return
    if show:
        raise UsageError("--show is for cameras, got files", hint="--annotate DIR writes copies to look at")
    pictures = None
    if annotate is not None:
        from mien.reading.pictures import PictureFolder, refuse_overwriting

        for path in paths:
            if os.path.exists(path):
                refuse_overwriting(path, annotate, written=[name for name in (output, timeline) if name])
        pictures = PictureFolder(annotate)

    from mien.cli.progress import Progress
    from mien.cli.read_run import ReadRun, journal_folder, timeline_of
    from mien.reading.inputs import expand

    written = [path for path in (output, timeline) if path]
    items = expand(paths, stdin=sys.stdin.buffer, exclude=[annotate] if annotate else [], outputs=written)
    one_picture = len(paths) == 1 and os.path.isfile(paths[0]) and not paths[0].lower().endswith((".parquet", ".pq"))
    with Progress(paths, shown=not quiet, single=one_picture) as progress:
        with (
            timeline_of(reader, timeline) as collector,
            outputs.open_writer(chosen, output=output, labels=reader.labels, stdout=sys.stdout.buffer) as writer,
        ):
            run = ReadRun(
                reader,
                writer=writer,
                settings=settings,
                progress=progress,
                pictures=pictures,
                timeline=collector,
                journals=journal_folder(output, annotate, timeline),
                quiet=quiet,
            )
            if not run.read(items):  # nobody reads on: what comes at the end would be of a part
                raise typer.Exit(1 if progress.failed else 0)
        run.done(output)
    if progress.failed:
        raise typer.Exit(1)
