"""``mien data audit`` from end to end: read the store, search, summarise, and write the report.

Everything is found before anything is written, save for the list of pairs, which streams into a file of its own that
appears only when it is whole. Whatever ends an audit leaves no half report and an earlier one as it was.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien import __version__
from mien.data.audit import figures
from mien.data.audit.copies import Copies, find_copies
from mien.data.audit.examples import choose
from mien.data.audit.faces import Detects, count_faces
from mien.data.audit.index import Index, Progress, fetch, read_index
from mien.data.audit.report import check_target, pairs_file, write_figures, write_report
from mien.data.audit.result import Audit, AuditedStore, Generated, Settings, SourceOfStore
from mien.data.audit.verdict import verdict
from mien.data.store import Store
from mien.errors import UsageError, require

FORMAT = 1
THRESHOLD, STRICT, TOLERANCE = 0.99, 0.995, 1.0
EXAMPLES = 48


def audit_store(
    path: str | Path,
    *,
    out: str | Path | None = None,
    threshold: float = THRESHOLD,
    tolerance: float = TOLERANCE,
    examples: int = EXAMPLES,
    detector: Detects | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Audit:
    """Find what is wrong with a store: copies, contradicting labels, doubtful votes, blank pictures, imbalance.

    Args:
        path: the store.
        out: the directory for ``audit.json``, ``audit.html``, pairs and sheets; None: nothing is written.
        threshold: correlation, 0-1, above which two images are near-duplicates.
        tolerance: mean absolute difference, 0-255, up to which two images count as the same picture.
        examples: images on each sheet.
        detector: also count the faces in each image (slow).
        workers: pictures in which faces are searched at a time.
        progress: called with (images done, images, what is being done).

    Returns:
        What ``audit.json`` holds (``docs/schemas/audit.json``).

    Raises:
        DataError: no store there, or a broken one.
        UsageError: an option out of range.
        OutputError: ``out`` cannot be written.
        MissingExtra: matplotlib is not installed, with which the charts are drawn.

    Examples:
        >>> from mien.data.audit.run import audit_store
        >>> audit = audit_store("store")
        >>> audit.pictures.blank
        0
    """
    _check(threshold, tolerance, examples)
    store, say = Store.open(path), progress or _silent
    if out is not None:
        require("matplotlib", "jinja2", extra="train")  # not learnt after the search
        check_target(Path(out), store)
    index = read_index(store, progress=say)
    with pairs_file(None if out is None else Path(out)) as on_pairs:
        copies = find_copies(
            index,
            lambda numbers: fetch(store, numbers),
            threshold=threshold,
            strict=max(threshold, STRICT),
            tolerance=tolerance,
            on_pairs=on_pairs,
            progress=say,
        )
        faces = None
        if detector is not None:
            everything = fetch(store, np.arange(len(index)))
            faces = count_faces(everything, detector, total=len(index), workers=workers, progress=say)
        result = _result(store, index, copies, faces, threshold=threshold, tolerance=tolerance, detector=detector)
        if out is not None:
            say(len(index), len(index), "writing the report")
            sheets = choose(index, copies, limit=examples, faces=faces)
            write_report(store, index, copies, result, sheets, Path(out), faces=faces)
    if out is not None:
        write_figures(result, Path(out))
    return result


def _result(
    store: Store,
    index: Index,
    copies: Copies,
    faces: NDArray[np.int16] | None,
    *,
    threshold: float,
    tolerance: float,
    detector: Detects | None,
) -> Audit:
    """Everything of ``audit.json``."""
    described = [
        {key: part.get(key, "") for key in ("name", "layout", "licence")} for part in store.summary.get("sources", [])
    ]
    result = Audit(
        mien_audit=FORMAT,
        mien=__version__,
        store=AuditedStore(
            name=store.path.resolve().name,
            fingerprint=store.fingerprint,
            labels=list(store.labels),
            sources=[SourceOfStore(**part) for part in described],
        ),
        settings=Settings(
            threshold=threshold,
            strict=max(threshold, STRICT),
            tolerance=tolerance,
            faces=None if detector is None else getattr(detector, "name", type(detector).__name__),
        ),
        findings=[],
        images=figures.images(index, copies),
        copies=figures.copies_of(index, copies),
        labels=figures.labels(index),
        votes=figures.votes(index),
        pictures=figures.pictures(index),
        faces=figures.faces(faces),
        groups=figures.groups(index),
        generated=Generated(images=int(index.generated.sum()), without_original_in_split=len(index.stray)),
    )
    return result.model_copy(update={"findings": verdict(result)})


def _check(threshold: float, tolerance: float, examples: int) -> None:
    if not 0.5 <= threshold < 1:
        raise UsageError(f"expected a threshold of 0.5 up to 1 (a correlation), got {threshold}")
    if not 0 <= tolerance <= 16:
        raise UsageError(f"expected a tolerance of 0 to 16 (of 255), got {tolerance}")
    if examples < 1:
        raise UsageError(f"expected at least 1 example a sheet, got {examples}")


def _silent(done: int, total: int, what: str) -> None:
    """No progress asked for."""
