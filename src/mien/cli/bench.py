"""``mien bench``: how fast reading is on this machine."""

from pathlib import Path
from typing import Annotated, Any

import typer


def bench(
    photo: Annotated[
        Path | None,
        typer.Argument(
            metavar="PHOTO", help="A photo with a face; by default a portrait of matplotlib's or scikit-image's."
        ),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds; the figures are medians over them.")] = 7,
    peers: Annotated[
        list[str] | None,
        typer.Option(
            "--peers",
            metavar="NAME=INTERPRETER",
            help="Also time another tool: fer=PYTHON, human=NODE (run in the folder where Human is installed). "
            "May repeat.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Measure faces, photos and frames per second, cold start and memory on this machine.

    Faces: one thread, batch 1, crop to probabilities. Photos: all steps from a file's bytes. Frames: of a 640×480
    H.264 clip in which two copies of the photo move (with the extra video).
    Contestants take turns, so their ratios hold on a busy machine; the absolute figures do not.

    Example: mien bench photo.jpg --peers fer=/path/of/python
    """
    import json

    from mien.errors import UsageError
    from mien.reading import bench as measured

    chosen = {}
    for peer in peers or []:
        name, equals, python = peer.partition("=")
        if not equals or not python:
            raise UsageError(f"--peers: expected NAME=INTERPRETER, got {peer!r}")
        chosen[name] = python
    result = measured.bench(photo or measured.default_photo(), rounds=rounds, peers=chosen)
    typer.echo(json.dumps(result, indent=2, ensure_ascii=False) if as_json else "\n".join(table(result)))


def table(result: dict[str, Any]) -> list[str]:
    """The figures as lines of text, ratios to the first of each part."""
    machine, photo = result["machine"], result["photo"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, int8 {'exact' if machine['int8_is_exact'] else 'not used'}",
        f"photo {photo['width']}×{photo['height']}, {photo['faces']} face(s); median of {result['rounds']} rounds",
        f"{'':34}{'a second':>10}{'ratio':>8}{'lowest':>10}{'highest':>10}",
    ]
    photos = {
        f"photos, {one['model']}, {one['detector']}, {one['threads']} thread{'s' * (one['threads'] > 1)}": one
        for one in result["photos_per_second"]
    }
    faces = {f"faces, {name}": one for name, one in result["faces_per_second"].items()}
    frames = {f"frames, {name}": one for name, one in (result["frames_per_second"] or {}).items()}
    for rows in filter(None, (faces, photos, frames)):
        base = next(iter(rows.values()))["median"]
        for name, one in rows.items():
            speeds = "".join(f"{one[key]:>10,.1f}" for key in ("lowest", "highest"))
            lines.append(f"{name:34}{one['median']:>10,.1f}{one['median'] / base:>8.2f}{speeds}")
    for model, one in result["cold_start"].items():
        memory = "unknown" if one["peak_mb"] is None else f"{one['peak_mb']:.0f} MB"
        lines.append(f"{f'mien read PHOTO, {model}':34}{one['seconds']:>8.2f} s, peak memory {memory}")
    return lines
