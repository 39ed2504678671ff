"""The user's own pictures: class folders, or a table with an image column and a label column.

    folder   <expression>/… or {train,val,test}/<expression>/…: classes by name
    csv      a column of paths (relative to the file) and one of labels; optional split, group, valence, arousal,
             soft_label (probabilities of the expressions by code, where the label is only a hint)
    parquet  the same, one file or a folder of them; pictures as paths, as bytes, or as {bytes, path}
    hf       what ``datasets.save_to_disk`` wrote

Labels go by name (every spelling that ``mien.labels`` knows) or by the codes of ``mien.labels``; ``names`` says what
other names or codes mean. With ``own`` each name is a class of the user's own (``mien data build --labels own``).
Pictures are taken for face crops; ``folder:photos=PATH`` (csv, parquet alike) says that they are photos, in which the
faces have to be found first. This file opens; ``own_tables.py`` reads tables, ``own_hf.py`` saved data sets.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mien.data.sources import own_hf, reasons
from mien.data.sources import own_tables as tables
from mien.data.sources.base import Drop, Sample
from mien.data.sources.found import Found, named_once, not_found
from mien.data.sources.own_labels import Labels
from mien.data.sources.trees import Classes, children, class_folders, files_below, is_picture, read_tree, split_folders
from mien.errors import DataError
from mien.labels import EIGHT, own_set

LICENCE = "the user's own data: no licence is known to mien"
TAKEN_FOR_CROPS = "the pictures are taken for face crops"
_CROPS = TAKEN_FOR_CROPS + "; if they are photos, say {name}:photos=PATH"

#: Of classes of the user's own: many pictures of few people is the usual case, and the split cannot see it.
NO_SUBJECTS = (
    "nothing says who is in the pictures; if several show one person, a table with a column group keeps people "
    "together, and the accuracy on held-out people would otherwise look too high"
)

Names = Mapping[str, str | None]


def open_folder(path: Path, *, photos: bool = False, names: Names | None = None, own: bool = False) -> Found:
    """Class folders by name, perhaps below folders named after splits.

    photos: faces have still to be found. names: folder name → expression, or None to leave it out. own: folders are
    classes of the user's own. Raises DataError where nothing of the kind is there, where a folder's name is no
    expression, or where a folder of the user's own holds no picture.
    """
    labels = Labels(names, own=own)
    if not path.is_dir():
        raise not_found("folder of classes", path, ("<expression>/ folders",), hint="for a table use csv= or parquet=")
    homes = split_folders(path)
    top = class_folders(path, lambda name: None if path / name in homes.values() else labels.folder(name))
    if homes and top:
        both = ", ".join(child.name for child in children(path) if child.is_dir())
        raise DataError(f"expected folders of splits or of classes in {path}, found both: {both}")
    found = {split: class_folders(home, labels.folder) for split, home in homes.items()} or {"": top}
    unknown = [f"{homes[split].name}/{name}" for split in homes for name in found[split].unknown]
    unknown += [name for name in top.unknown if path / name not in homes.values()]
    if not any(found.values()):
        raise not_found(
            "folder of classes", path, ("<expression>/", "{train,val,test}/<expression>/"), hint=labels.hint
        )
    if unknown:
        raise DataError(
            f"expected class folders named after expressions ({', '.join(EIGHT)}) in {path}, found also "
            f"{', '.join(unknown)}",
            hint=labels.hint,
        )
    if own:
        _require_pictures(found)
    classes = tuple(dict.fromkeys(label for each in found.values() for label in each.folders)) if own else EIGHT
    known = own_set(label for label in classes if label != reasons.LEFT_OUT) if own else EIGHT
    return Found(
        name="folder",
        layout="class folders" + (f" below {', '.join(home.name for home in homes.values())}" if homes else ""),
        files=tuple(homes.values()) or (path,),
        licence=LICENCE,
        read=lambda: _read_folders(path, homes, found, photos=photos, known=known),
        warnings=(*(() if photos else (_CROPS.format(name="folder"),)), *((NO_SUBJECTS,) if own else ())),
        classes=known if own else (),
    )


def _read_folders(
    root: Path, homes: Mapping[str, Path], found: Mapping[str, Classes], *, photos: bool, known: Sequence[str]
) -> Iterator[Sample | Drop]:
    for place in (root, *homes.values()):
        for file in children(place):
            if is_picture(file) and not file.is_dir():
                yield Drop(file.relative_to(root).as_posix(), reasons.OUTSIDE)
    yield from read_tree(root, found, is_crop=not photos, known=known)


def _require_pictures(found: Mapping[str, Classes]) -> None:
    """Raises DataError where a class folder of the user's own holds no picture: it would be a class without one."""
    folders = [folder for each in found.values() for label, of in each.folders.items() for folder in of
               if label != reasons.LEFT_OUT]  # fmt: skip
    for folder in folders:
        if not any(is_picture(file) for file in files_below(folder)):
            raise DataError(
                f"expected pictures in every class folder, got none in {folder}",
                hint=f"move it away, or say in a build recipe names: {{{folder.name}: null}}",
            )


def open_csv(path: Path, *, photos: bool = False, names: Names | None = None, own: bool = False) -> Found:
    """A table of paths and labels, separated by commas, semicolons or tabs; or a folder that holds one .csv.

    Raises DataError where it is none, or where no column can be the image or the label.
    """
    if path.is_dir():
        here = [file for file in children(path) if file.suffix.lower() in (".csv", ".tsv")]
        if len(here) != 1:
            raise not_found("table", path, ("one .csv file",), hint="give the file itself")
        path = here[0]
    return _table("csv", tables.csv_table(path), photos=photos, names=names, own=own, read=tables.read_csv)


def open_parquet(path: Path, *, photos: bool = False, names: Names | None = None, own: bool = False) -> Found:
    """One Parquet file, or a folder of them, read in the order of their names.

    Raises DataError where one is broken, or where no column can be the image or the label.
    """
    files = tuple(sorted(path.rglob("*.parquet"))) if path.is_dir() else (path,)
    root = path if path.is_dir() else path.parent
    if not files:
        raise not_found("Parquet table", path, ("*.parquet",))
    return _table(
        "parquet", tables.parquet_table(files, root), photos=photos, names=names, own=own, read=tables.read_parquet
    )


def open_hf(path: Path, *, photos: bool = False, names: Names | None = None, own: bool = False) -> Found:
    """A data set or a dict of splits as ``datasets.save_to_disk`` leaves it; class names are those of its ClassLabel.

    Raises DataError where it is none, is damaged, or where no column can be the image or the label.
    """
    table, files = own_hf.open_saved(path)

    def read(table: tables.Table, labels: Labels, *, photos: bool) -> Iterator[Sample | Drop]:
        return own_hf.read_saved(table, files, labels, photos=photos)

    return _table("hf", table, photos=photos, names=names, own=own, read=read)


def _table(
    name: str,
    table: tables.Table,
    *,
    photos: bool,
    names: Names | None,
    own: bool,
    read: Callable[..., Iterator[Sample | Drop]],
) -> Found:
    labels = Labels(names, own=own)
    if own and "soft_label" in table.name:
        raise DataError(
            f"{table.files[0]}: expected no column soft_label with classes of your own, got one: its order is that of "
            "the expressions"
        )
    labels.require_known(table.classes, where=table.files[0])
    warnings = [*table.warnings, *((NO_SUBJECTS,) if own and "group" not in table.name else ())]
    if not table.classes and labels.read_as_codes(table.labels):
        meaning = ", ".join(f"{code} {label}" for code, label in enumerate(EIGHT))
        warnings.append(f"the labels are codes; they were read as {meaning}; give names= if yours mean something else")
    if not photos:
        warnings.append(_CROPS.format(name=name))
    return Found(
        name=name,
        layout=f"table ({table.text()})",
        files=table.files,
        licence=LICENCE,
        read=lambda: named_once(read(table, labels, photos=photos)),
        count=lambda: table.rows,
        ferplus="votes" in table.name and not own,  # a store of ours
        warnings=tuple(warnings),
        classes=own_set(labels.classes(table.labels, table.classes)) if own else (),
    )
