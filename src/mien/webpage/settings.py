"""What the page is told of mien's numbers: ``settings.json``. Each stands in its module in Python and nowhere else.

The page's modules in ``static/reading`` are the same algorithms in JavaScript; whatever could be tuned in Python comes
to them from here, so that a change here changes both. ``tests/webpage`` holds them together.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mien import __version__
from mien.errors import UsageError
from mien.faces import align, close_look, confirm, heads, orientation, pose, upright, views, yunet, yunet_weights
from mien.faces.align import CropGeometry
from mien.imaging import MAX_PIXELS
from mien.onnx_file import metadata
from mien.preprocess import Preprocess
from mien.reading.annotate import UNSURE, hex_color_of
from mien.reading.classifier import ModelMeta
from mien.reading.probabilities import BEND, Calibration
from mien.results import table_columns
from mien.video import smoothing, tracking
from mien.video.settings import SMOOTH_S

READERS = ("nano", "compact")  # unless others are asked for; the first is loaded with the page, others when chosen
FULL_PIXELS = 24_000_000  # a larger picture is reduced to that many before it is read: a phone's tab has little memory
PREVIEW_SIDE = 1600  # of the copy that is shown, pixels


def settings(
    networks: Mapping[str, bytes], runtime: Mapping[str, bytes], readers: Mapping[str, bytes]
) -> dict[str, Any]:
    """All that ``settings.json`` holds.

    runtime: ONNX Runtime Web by file name. networks, readers: ONNX files by name: yunet and orientation, and what the
    page offers. Raises ModelError where one is not what it should be, UsageError where the readers' classes differ: a
    table has the columns of one set.
    """
    models = {name: _model(name, content) for name, content in readers.items()}
    first = next(iter(models))
    for name, model in models.items():
        if model["labels"] != models[first]["labels"]:
            sets = (", ".join(models[one]["labels"]) for one in (first, name))
            raise UsageError(
                f"expected readers of the same classes for one page, got {' and '.join(sets)}",
                hint=f"make a page of its own for {name}",
            )
    detector = yunet.YuNet.name
    turned = metadata(networks["orientation"])
    return {
        "mien": __version__,
        "runtime": _told("runtime/ort.wasm", runtime["ort.wasm"]),
        "first_model": first,
        "models": models,
        "detector": _file(detector, networks[detector])
        | {
            "input": yunet_weights.INPUT,
            "strides": yunet_weights.STRIDES,
            "channels": yunet_weights.CHANNELS,
            "min_score": yunet.MIN_SCORE,
            "least_close": yunet.LEAST_CLOSE,
            "max_overlap": yunet.MAX_OVERLAP,
            "max_inside": heads.MAX_INSIDE,
            "whole_side": yunet.WHOLE_SIDE,
            "whole_gap": yunet.WHOLE_GAP,
            "gap": views.View(0).gap,
            "second_side": yunet.SECOND_SIDE,
            "detail_sides": yunet.DETAIL_SIDES,
            "largest": yunet.LARGEST,
            "max_candidates": yunet.MAX_CANDIDATES,
            "grey": views.GREY,
            "multiple": views.MULTIPLE,
        },
        "close_look": {
            "side": close_look.VIEW.side,
            "face": close_look.VIEW.face,
            "seen": close_look.SEEN,
            "again": close_look.AGAIN,
            "max_tilt": close_look.MAX_TILT,
            "batch": close_look.BATCH,
        },
        "confirm": {
            "side": confirm.VIEW.side,
            "face": confirm.VIEW.face,
            "weak": confirm.WEAK,
            "sure": confirm.SURE,
            "needed": confirm.NEEDED,
            "doubted": confirm.DOUBTED,
            "doubted_above": confirm.DOUBTED_ABOVE,
            "surrounded": confirm.SURROUNDED,
            "max_weak": confirm.MAX_WEAK,
            "least_overlap": confirm.LEAST_OVERLAP,
            "batch": confirm.BATCH,
        },
        "orientation": _file("orientation", networks["orientation"])
        | {
            "labels": orientation.ORIENTATIONS,
            "preprocess": asdict(Preprocess.from_json(turned["mien.preprocess"])),
            "calibration": _calibration(Calibration(float(turned["mien.temperature"]))),
            "sure_score": upright.SURE_SCORE,
            "sure": upright.SURE,
            "least_score": upright.LEAST_SCORE,
            "max_overlap": upright.MAX_OVERLAP,
        },
        "geometry": asdict(CropGeometry.of(yunet.YuNet)),
        "align": {
            "max_roll": align.MAX_ROLL,
            "small_tilt": align.SMALL_TILT,
            "min_eye_distance": align.MIN_EYE_DISTANCE,
            "oversampling": align.OVERSAMPLING,
            "margin": align.MARGIN,
        },
        "pose": {
            "model": pose.MODEL.tolist(),
            "weights": pose.WEIGHTS.tolist(),
            "steps": pose.STEPS,
            "wide": pose.WIDE,
            "max_yaw": pose.MAX_YAW,
            "max_pitch": pose.MAX_PITCH,
        },
        "tracking": {
            "memory_s": tracking.MEMORY_S,
            "settle_s": tracking.SETTLE_S,
            "size_s": tracking.SIZE_S,
            "drift_s": tracking.DRIFT_S,
            "reach": tracking.REACH,
            "reach_growth": tracking.REACH_GROWTH,
            "jump": tracking.JUMP,
            "alone": tracking.ALONE,
            "max_scale": tracking.MAX_SCALE,
        },
        "smoothing": {"seconds": SMOOTH_S, "floor": smoothing.FLOOR},
        "limits": {"max_pixels": MAX_PIXELS, "full_pixels": FULL_PIXELS, "preview_side": PREVIEW_SIDE},
        "no_label_colour": "#{:02x}{:02x}{:02x}".format(*UNSURE),
    }


def _file(name: str, content: bytes) -> dict[str, Any]:
    """Where a network lies in the page, and how the page knows that it got it whole."""
    return _told(f"models/{name}.onnx", content)


def model_path(name: str) -> str:
    """Of a reader in the page. A name of the user's may be taken or no address: then a hash names the file."""
    plain = re.fullmatch(r"[A-Za-z0-9_-]+", name) and name not in (yunet.YuNet.name, "orientation")
    return f"models/{name if plain else hashlib.sha256(name.encode()).hexdigest()[:12]}.onnx"


def _told(path: str, content: bytes) -> dict[str, Any]:
    return {"file": path, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _model(name: str, content: bytes) -> dict[str, Any]:
    meta = ModelMeta.parse(metadata(content), where=name)
    return _told(model_path(name), content) | {
        "labels": meta.labels,
        "preprocess": asdict(meta.preprocess),
        "calibration": _calibration(meta.calibration),
        "columns": table_columns(meta.labels),
        "colours": {label: hex_color_of(label, meta.labels) for label in meta.labels},
    }


def _calibration(calibration: Calibration) -> dict[str, float]:
    return asdict(calibration) | {"bend": BEND}


def settings_json(networks: Mapping[str, bytes], runtime: Mapping[str, bytes], readers: Mapping[str, bytes]) -> bytes:
    """``settings.json`` as it is served."""
    told = settings(networks, runtime, readers)
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
