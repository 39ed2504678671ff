"""RAF-DB's basic expressions (Li, Deng & Du 2017) in each layout that is in circulation.

    official  EmoLabel/list_patition_label.txt (sic) with Image/aligned/*_aligned.jpg: crops; where only
              Image/original/ exists: photos, with Annotation/boundingbox and the five points of Annotation/manual
    folders   DATASET/{train,test}/1..7/, 0..6/ in zero-based copies, or with folders by name

Codes 1-7 mean surprise, fear, disgust, happiness, sadness, anger, neutral. Copies that count from zero look alike, and
a wrong guess would shift every label by one: the presence of 0 or of 7 decides. Where neither occurs nothing is
guessed; the user says it: ``--source rafdb:zero-based=PATH`` or ``--source rafdb:one-based=PATH``.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from mien.data.sources import reasons
from mien.data.sources.base import Counts, Drop, Sample
from mien.data.sources.found import Found, in_order, named_once, not_found
from mien.data.sources.trees import (
    Classes,
    class_folders,
    expression,
    files_below,
    first_folder,
    not_a_picture,
    read_splits,
    require_classes,
    split_folders,
    split_name,
)
from mien.errors import DataError
from mien.labels import whole

NAME = "rafdb"
LICENCE = (
    "RAF-DB (Li, Deng & Du 2017): for non-commercial research and education, handed out by its owners on request; "
    "do not redistribute the images"
)
_found = partial(Found, name=NAME, licence=LICENCE)
#: What the codes 1-7 (0-6 in zero-based copies) mean.
CODES = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
EXPECTED: Counts = {
    "training": in_order(CODES, (1290, 281, 717, 4772, 1982, 705, 2524)),
    "test": in_order(CODES, (329, 74, 160, 1185, 478, 162, 680)),
}
WANTED = (
    "EmoLabel/list_patition_label.txt with Image/aligned/ or Image/original/",
    "DATASET/{train,test}/1..7/ or {train,test}/<expression>/",
)
_LISTS = ("EmoLabel/list_patition_label.txt", "EmoLabel/list_partition_label.txt")
_ALIGNED = ("Image/aligned", "Image/aligned/aligned", "aligned")
_ORIGINAL = ("Image/original", "Image/original/original", "original")
_BOXES = ("Annotation/boundingbox", "boundingbox")
_POINTS = ("Annotation/manual", "manual")

Point = tuple[float, float]


def open_rafdb(path: Path, *, base: int | None = None) -> Found:
    """Detect the layout of a directory. base: the first code, 0 or 1, where the user has said it.

    Raises DataError that says what was looked for and found; also where the codes leave it open what they mean.
    """
    for root in (path, path / "basic", path / "DATASET"):
        for name in _LISTS:
            if (root / name).is_file():
                return _official(root, root / name, base)
        if root.is_dir() and (splits := split_folders(root)):
            codes = {int(c.name) for f in splits.values() for c in f.iterdir() if c.is_dir() and c.name.isdecimal()}
            if codes or any(class_folders(folder, expression) for folder in splits.values()):
                return _folders(root, splits, codes, base)
    raise not_found("RAF-DB", path, WANTED)


def first_code(codes: Iterable[int], *, base: int | None, where: Path) -> int:
    """0 or 1: what surprise is called here. base: the user's word, which the codes must not contradict.

    Raises DataError where the codes are of something else, contradict each other, or leave it open.
    """
    have = set(codes)
    said = f"found the codes {', '.join(map(str, sorted(have)))} in {where}"
    if beyond := {code for code in have if code > 7}:
        hint = (
            "compound expressions have codes 1-11 and other meanings; give the basic set" if max(beyond) <= 11 else None
        )
        raise DataError(f"expected RAF-DB's basic codes 1-7, {said}", hint=hint)
    if {0, 7} <= have:
        raise DataError(f"expected the codes 1-7 or 0-6, {said}", hint="this mixes two copies; give one of them")
    decided = 0 if 0 in have else 1 if 7 in have else base
    if decided is None:
        raise DataError(
            f"expected the code 0 or 7, which tells whether RAF-DB's codes count from 0 or from 1, {said}",
            hint="say which: --source rafdb:one-based=PATH (1 is surprise) or rafdb:zero-based=PATH (0 is surprise)",
        )
    if base not in (None, decided):
        raise DataError(f"expected codes from {base} as the source's name says, {said}", hint="leave the option away")
    return decided


def _counted(first: int) -> str:
    return "" if first == 1 else ", zero-based"


# --- the official tree -----------------------------------------------------------------------------------------------


def _official(root: Path, labels: Path, base: int | None) -> Found:
    aligned = first_folder(*(root / name for name in _ALIGNED))
    images = aligned or first_folder(*(root / name for name in _ORIGINAL))
    if images is None:
        zips = [name for name in ("Image/aligned.zip", "Image/original.zip") if (root / name).is_file()]
        hint = f"unpack {zips[0]} into {root / 'Image'}" if zips else "the labels are there, the images are not"
        raise not_found("RAF-DB", root, ("Image/aligned/", "Image/original/"), hint=hint)
    codes = {code for line in _lines(labels) if len(line) == 2 and (code := whole(line[1])) is not None}
    first = first_code(codes, base=base, where=labels)
    boxes = first_folder(*(root / name for name in _BOXES)) if not aligned else None
    return _found(
        layout=f"official, {'aligned' if aligned else 'original'} images"
        + (" with face boxes" if boxes else "")
        + _counted(first),
        files=(labels, images),
        read=lambda: named_once(_read_official(root, labels, images, is_aligned=aligned is not None, first=first)),
        expected=EXPECTED,
        warnings=() if aligned or boxes else ("no Annotation/boundingbox: a photo with several faces is left out",),
    )


def _lines(file: Path) -> list[list[str]]:
    try:
        return [line.split() for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines()]
    except OSError as error:
        raise DataError(f"expected RAF-DB's list of labels, cannot read {file}: {error}") from error


def _read_official(root: Path, labels: Path, images: Path, *, is_aligned: bool, first: int) -> Iterator[Sample | Drop]:
    boxes = first_folder(*(root / name for name in _BOXES)) if not is_aligned else None
    manual = first_folder(*(root / name for name in _POINTS)) if not is_aligned else None
    listed: set[Path] = set()
    for number, line in enumerate(_lines(labels), 1):
        place = f"{labels.name}:{number}"
        if not line:
            continue
        if len(line) != 2 or "/" in line[0] or "\\" in line[0]:
            yield Drop(place, reasons.ROW, " ".join(line)[:60])
            continue
        name, text = line
        stem, dot, suffix = name.rpartition(".")
        split = split_name(stem.partition("_")[0])
        given = whole(text)
        code = -1 if given is None else given - first
        file = images / (f"{stem}_aligned{dot}{suffix}" if is_aligned else name)
        listed.add(file)
        if split is None or split not in EXPECTED:
            yield Drop(place, reasons.SPLIT, name[:60])
        elif not 0 <= code < len(CODES):
            yield Drop(place, reasons.CODE, f"{text[:20]}, expected {first}-{first + 6}")
        elif not file.exists():
            yield Drop(file.relative_to(root).as_posix(), reasons.MISSING, place)
        elif drop := not_a_picture(file, file.relative_to(root).as_posix()):
            yield drop
        else:
            yield Sample(
                file.relative_to(root).as_posix(),
                None,
                CODES[code],
                split,
                file=file,
                is_crop=is_aligned,
                box=_box(boxes / f"{stem}_boundingbox.txt") if boxes else None,
                landmarks=_points(manual / f"{stem}_manu_attri.txt") if manual else None,
            )
    for file in files_below(images):
        if file not in listed:
            place = file.relative_to(root).as_posix()
            yield not_a_picture(file, place) or Drop(place, reasons.UNLISTED)


def _numbers(file: Path) -> list[float]:
    try:
        return [float(word) for word in file.read_text(encoding="utf-8", errors="replace").split()]
    except (OSError, ValueError):
        return []


def _box(file: Path) -> tuple[float, float, float, float] | None:
    """left, top, right, bottom → x, y, w, h; None where the file is not there or says something else."""
    numbers = _numbers(file)
    if len(numbers) != 4:
        return None
    left, top, right, bottom = numbers
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


def _points(file: Path) -> tuple[Point, ...] | None:
    """Eyes, nose and corners of the mouth: ten numbers, before gender, race and age, which are not taken."""
    numbers = _numbers(file)
    return tuple(zip(numbers[:10:2], numbers[1:10:2], strict=True)) if len(numbers) >= 10 else None


# --- class folders ---------------------------------------------------------------------------------------------------


def _folders(root: Path, splits: dict[str, Path], codes: set[int], base: int | None) -> Found:
    first = first_code(codes, base=base, where=root) if codes else 1

    def meaning(name: str) -> str | None:
        if name.isdecimal():
            return CODES[int(name) - first] if 0 <= int(name) - first < len(CODES) else None
        return expression(name)

    found: dict[str, Classes] = {split: class_folders(folder, meaning) for split, folder in splits.items()}
    warnings = []
    for split, classes in found.items():
        names = {label: str(code) for code, label in enumerate(CODES, first)} if codes else {}
        if base is None:
            require_classes(classes, splits[split], CODES, names=names)
        elif missing := classes.missing(CODES):
            warnings.append(f"no folder for {', '.join(missing)} in {splits[split].name}")
        if classes.unknown:
            warnings.append(f"not read, as it names no class: {', '.join(classes.unknown[:8])} in {splits[split].name}")
    return _found(
        layout=f"folders by {'code' if codes else 'name'}{_counted(first) if codes else ''}",
        files=tuple(splits.values()),
        read=lambda: read_splits(root, splits, found),
        expected=EXPECTED,
        warnings=tuple(warnings),
    )
