"""CK+ (Lucey et al. 2010) in each layout that is in circulation.

    official tree  cohn-kanade-images/S###/###/*.png with Emotion/S###/###/*_emotion.txt (and Landmarks/ where it is)
    CK+48          <expression>/S010_004_00000017.png: 48×48 crops of the last three frames; no neutral
    ckextended     ckextended.csv: emotion (FER2013's codes, 7 contempt), pixels, Usage: one crop a row, no subjects

A sequence goes from neutral to the peak of its expression: the first frame is neutral, the last three take the label.
The label's file is named after the peak, so that a sequence whose copy broke off is told from a short one: its frames
count as missing, and none before the peak is mislabelled. CK+ has no official split; the subject is the group.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path

from mien.data.sources import fer2013_readers, reasons
from mien.data.sources.base import Drop, Sample
from mien.data.sources.found import Found, in_order, not_found
from mien.data.sources.trees import (
    Classes,
    children,
    class_folders,
    expression,
    files_below,
    not_a_picture,
    read_outside,
    read_tree,
    require_classes,
)
from mien.errors import DataError
from mien.labels import EIGHT
from mien.tables import csv_columns, require_columns

NAME = "ckplus"
LICENCE = (
    "CK+ (Lucey et al. 2010): for non-commercial research, under the agreement with its owners (University of "
    "Pittsburgh); do not redistribute the images"
)
_found = partial(Found, name=NAME, licence=LICENCE)
#: CK+'s own codes, in the Emotion files.
CODES = ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")
#: The last three frames of the 327 labelled sequences, which is what CK+48 holds …
PEAKS = in_order(("angry", "contempt", "disgust", "fear", "happy", "sad", "surprise"), (135, 54, 177, 75, 207, 84, 249))
#: … and their first frames with them.
OFFICIAL = {**PEAKS, "neutral": 327}
EXTENDED = in_order(EIGHT, (45, 59, 25, 69, 28, 83, 593, 18))

WANTED = (
    "cohn-kanade-images/S###/###/*.png with Emotion/S###/###/*_emotion.txt",
    "CK+48/<expression>/S###_###_########.png",
    "ckextended.csv",
)
_IMAGES = ("cohn-kanade-images", "extended-cohn-kanade-images/cohn-kanade-images")
_EMOTIONS = ("Emotion", "Emotion_labels/Emotion", "Emotion_labels")
_LANDMARKS = ("Landmarks", "Landmarks/Landmarks")
_FRAME = re.compile(r"(S\d+)_(\d+)_(\d+)\b", re.IGNORECASE)  # subject, sequence, frame


def open_ckplus(path: Path) -> Found:
    """Detect the layout of a file or directory. Raises DataError that says what was looked for and what was found."""
    if path.is_file():
        if path.suffix.lower() == ".csv" and {"emotion", "pixels"} <= set(csv_columns(path)):
            return _extended(path)
        raise not_found("CK+", path, WANTED)
    for root in (path, path / "CK+", path / "CK+48"):
        if images := _first(root, _IMAGES):
            return _official(root, images)
        if (root / "ckextended.csv").is_file():
            return _extended(root / "ckextended.csv")
        if root.is_dir() and len((classes := class_folders(root, expression)).folders) > 1:
            return _crops(root, classes)
    raise not_found("CK+", path, WANTED)


def subject(file_name: str) -> str | None:
    """``S010_004_00000017.png`` → ``S010``; None for a name of another shape."""
    match = _FRAME.match(file_name)
    return match[1].upper() if match else None


def _first(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _crops(root: Path, classes: Classes) -> Found:
    require_classes(classes, root, tuple(PEAKS), names={"angry": "anger", "sad": "sadness"})
    firsts = [file.name for paths in classes.folders.values() for file in islice(files_below(paths[0]), 1)]
    if firsts and not any(map(subject, firsts)):
        raise DataError(
            f"expected file names with a subject, like S010_004_00000017.png, in {root}, found {firsts[0]}",
            hint="if this is not CK+, read it as folder=PATH",
        )
    return _found(
        layout="CK+48 folders",
        files=(root,),
        read=lambda: chain(
            read_tree(root, {"": classes}, subject=subject), read_outside(root, (root,), classes.paths())
        ),
        expected={"": PEAKS},
    )


# --- ckextended.csv ------------------------------------------------------------------------------------------------


def _extended(path: Path) -> Found:
    require_columns(path, ("emotion", "pixels"))
    return _found(
        layout="ckextended csv",
        files=(path,),
        read=lambda: _read_extended(path),
        expected={"": EXTENDED},
        warnings=(
            "this copy names no subjects, so that one person may stand in several splits; scores on it are optimistic",
            "its Usage column is not a split of CK+ (persons cross it) and was not taken",
        ),
    )


def _read_extended(path: Path) -> Iterator[Sample | Drop]:
    for item in fer2013_readers.read_csv(path, votes=None, labels=EIGHT):
        yield replace(item, split="") if isinstance(item, Sample) else item


# --- the official tree ---------------------------------------------------------------------------------------------


def _official(root: Path, images: Path) -> Found:
    emotions = _first(root, _EMOTIONS)
    if emotions is None:
        raise not_found("CK+", root, WANTED[:1], hint="the images are there; unpack Emotion_labels.zip beside them")
    landmarks = _first(root, _LANDMARKS)
    if not any(_sequences(images)):
        raise not_found("CK+", images, ("S###/###/*.png",), hint="the copy looks incomplete")
    return _found(
        layout="official tree, first and last three frames of each labelled sequence"
        + (", with landmarks" if landmarks else ""),
        files=tuple(folder for folder in (images, emotions, landmarks) if folder),
        read=lambda: _read_official(images, emotions, landmarks),
        expected={"": OFFICIAL},
    )


def _sequences(root: Path) -> Iterator[str]:
    """``S005/001``, …: the folders two levels below, in order."""
    for person in children(root):
        if person.is_dir() and re.fullmatch(r"S\d+", person.name, re.IGNORECASE):
            yield from (f"{person.name}/{child.name}" for child in children(person) if child.is_dir())


def _read_official(images: Path, emotions: Path, landmarks: Path | None) -> Iterator[Sample | Drop]:
    for sequence in sorted({*_sequences(images), *_sequences(emotions)}):
        label = _label(emotions / sequence, where=f"{images.name}/{sequence}")
        if isinstance(label, Drop):
            yield label
        else:
            yield from _frames(images, sequence, label=label[0], peak=label[1], landmarks=landmarks)
    sequences = [images / sequence for sequence in _sequences(images)]
    persons = list(dict.fromkeys(folder.parent for folder in sequences))
    yield from read_outside(images.parent, (images, *persons), (*persons, *sequences), reason=reasons.NO_SEQUENCE)


def _label(folder: Path, *, where: str) -> tuple[str, int] | Drop:
    """The expression of a sequence and the number of its peak frame, from the one file in its Emotion folder."""
    files = [file for file in children(folder) if file.name.endswith("_emotion.txt")] if folder.is_dir() else []
    if not files:
        return Drop(where, reasons.UNLABELLED_SEQUENCE)
    frame = _FRAME.match(files[0].name.removesuffix("_emotion.txt"))
    if len(files) > 1 or not frame:
        return Drop(where, reasons.ANNOTATION, ", ".join(file.name for file in files)[:80])
    try:
        text = files[0].read_text(encoding="utf-8", errors="replace").strip()
        code = float(text)
    except OSError as error:
        return Drop(where, reasons.ANNOTATION, str(error)[:80])
    except ValueError:
        return Drop(where, reasons.ANNOTATION, f"{text[:40]!r} in {files[0].name}")
    if code not in range(len(CODES)):  # holds for whole floats alone
        return Drop(where, reasons.CODE, f"{text[:40]}, expected 0-{len(CODES) - 1}")
    return CODES[int(code)], int(frame[3])


def _frames(images: Path, sequence: str, *, label: str, peak: int, landmarks: Path | None) -> Iterator[Sample | Drop]:
    folder = images / sequence
    files: dict[int, Path] = {}
    for file in files_below(folder) if folder.is_dir() else ():
        where = file.relative_to(images.parent).as_posix()
        if drop := not_a_picture(file, where):
            yield drop
        elif not (match := _FRAME.match(file.stem)):
            yield Drop(where, reasons.NAME, "expected SUBJECT_SEQUENCE_FRAME")
        elif (number := int(match[3])) in files:
            yield Drop(where, reasons.DUPLICATE_NAME, f"{files[number].name} is frame {number} already")
        else:
            files[number] = file
    last = max((peak, *files))
    wanted = {1: "neutral"} | dict.fromkeys(range(max(2, last - 2), last + 1), label)
    for number, meaning in wanted.items():
        if number not in files:
            where = f"{images.name}/{sequence}/{sequence.replace('/', '_')}_{number:08d}.png"
            yield Drop(where, reasons.MISSING, f"{len(files)} of {last} frames are there")
            continue
        file = files[number]
        where = file.relative_to(images.parent).as_posix()
        points = _points(landmarks / sequence / f"{file.stem}_landmarks.txt") if landmarks else None
        person = sequence.partition("/")[0].upper()
        yield Sample(where, None, meaning, "", group=person, file=file, is_crop=False, landmarks=points)


def _points(file: Path) -> tuple[tuple[float, float], ...] | None:
    """x, y a line; None where the file is not there or is no such list."""
    try:
        rows = [
            line.split() for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
        ]
        return tuple((float(x), float(y)) for x, y in rows) or None
    except (OSError, ValueError):
        return None
