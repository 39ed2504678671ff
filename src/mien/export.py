"""Export of a run directory to ONNX, with labels, preprocessing, calibration and provenance in the metadata.

The parity gate compares torch and ONNX Runtime on several batch sizes; a network that fails it is not written.

    input  crops   float32 [N, C, S, S]   normalised by the preprocess inside
    output logits  float32 [N, K]         to probabilities: ``mien.reading.probabilities``
"""

import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import mien
from mien.atomic import AtomicFile, write_bytes
from mien.errors import ExportError, UsageError
from mien.labels import SEVEN
from mien.preprocess import Preprocess
from mien.reading.probabilities import Calibration, probabilities

log = logging.getLogger(__name__)

#: Largest difference of a probability between torch and the file, by how the weights are stored.
TOLERANCE = {"fp32": 1e-4, "fp16": 5e-3}


def export_onnx(
    network: nn.Module,
    path: Path,
    *,
    name: str,
    labels: tuple[str, ...],
    preprocess: Preprocess,
    calibration: Calibration | None = None,
    calibration_tta: Calibration | None = None,
    provenance: Mapping[str, Any] | None = None,
    weights: str = "fp32",
    task: str = "expression",
) -> dict[str, float]:
    """Write ``path`` and return what the gate measured.

    calibration: of one crop; None: none. calibration_tta: of ten; None: that of one. weights: "fp32", or "fp16":
    weights are *stored* in half precision (half the file) and computed with in single. Raises ExportError where the
    gate fails, UsageError and OutputError as :func:`check_target`.
    """
    check_target(path)
    for one in filter(None, (calibration, calibration_tta)):
        one.check(len(labels))
        if one.floor and task != "expression":
            raise UsageError(f"expected no floor for task {task}, got {one.floor}")
    network = network.eval()
    # A batch of two is the smallest that does not make the exporter fix the dimension.
    model = _to_onnx(network, torch.zeros(2, preprocess.channels, preprocess.input_size, preprocess.input_size))
    if weights == "fp16":
        store_weights_as_half(model)
    metadata = {
        "mien.task": task,
        "mien.name": name,
        "mien.labels": json.dumps(list(labels)),
        "mien.preprocess": preprocess.to_json(),
        "mien.provenance": json.dumps(dict(provenance or {}), ensure_ascii=False, sort_keys=True),
    }
    metadata |= calibration_metadata(calibration or Calibration(), calibration_tta)
    del model.metadata_props[:]
    helper.set_model_props(model, metadata)
    model.producer_name, model.producer_version = "mien", mien.__version__
    model.doc_string = "Reads apparent facial expression from a face crop. See the model card."

    content = model.SerializeToString()
    measured = parity(network, content, preprocess, tolerance=TOLERANCE[weights])
    write_bytes(path, content)
    return measured | {"bytes": float(len(content))}


def calibration_metadata(one: Calibration, ten: Calibration | None) -> dict[str, str]:
    """The entries of a file's metadata; ten: None where it is that of one crop.

    A file with a floor has format 2: an older mien refuses it, where it would give other probabilities.
    """
    told = asdict(one) | {f"{key}_tta": value for key, value in asdict(ten or one).items()}
    written = {f"mien.{key}": repr(float(value)) for key, value in told.items()}
    return {"mien.format": "2" if told["floor"] or told["floor_tta"] else "1"} | written


def check_target(path: Path) -> None:
    """Whether a model can be written there; nothing is left behind. For asking before the work, which may take hours.

    Raises UsageError for a name that does not end in .onnx, OutputError where no file of that name can be made.
    """
    if path.suffix != ".onnx":
        better = path / "model.onnx" if path.is_dir() else path.parent / f"{path.stem}.onnx"
        raise UsageError(f"expected a file name that ends in .onnx, got {str(path)!r}", hint=f"for example {better}")
    AtomicFile(path).discard()


def export_run(
    run: Path,
    path: Path,
    *,
    name: str | None,
    calibration: Calibration | None = None,
    calibration_tta: Calibration | None = None,
    half: bool = False,
    fitted_on: str | None = None,
) -> dict[str, float]:
    """Export the best weights of a run directory to ONNX, with recipe, data, commit and origins as provenance.

    Args:
        run: the run directory.
        path: the file to write; ends in .onnx.
        name: the reader's name in the file; None: the recipe's.
        calibration: of one crop, from :func:`mien.evaluation.predict.fit_calibrations`; None: none.
        calibration_tta: of the mean over ten crops; None: that of one.
        half: store the weights as float16 (half the file; computed in float32).
        fitted_on: what they were fitted on, where it was not the recipe's whole validation split.

    Returns:
        What the parity gate measured: the largest differences of logits and probabilities, and the file's bytes.

    Raises:
        DataError: ``run`` is no run.
        ExportError: ONNX Runtime does not reproduce torch's outputs; no file is written.
        UsageError: a file name that does not end in .onnx.
        OutputError: ``path`` cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from mien import Reader
        >>> from mien.export import export_run
        >>> measured = export_run(Path("run"), Path("own.onnx"), name="own", half=True)
        >>> measured["max_probability_difference"] < 0.005
        True
        >>> Reader("own.onnx").labels
        ('dark', 'light')
    """
    from mien.training.networks import load_network

    network, recipe, preprocess, meta = load_network(run, tasks=("expression", "orientation"))
    if not meta:
        log.warning("note: %s has no meta.json (is it still training?); provenance is incomplete", run)
    provenance = {
        "recipe": recipe.model_dump(mode="json"),
        "parameters": sum(p.numel() for p in network.parameters()),
        "valid_accuracy": meta.get("result", {}).get("best_valid_accuracy"),
        "data": {key: meta.get("data", {}).get(key) for key in ("store", "train", "images")},
        "commit": meta.get("commit"),
        "device": meta.get("device"),
        "precision": meta.get("precision", recipe.precision),
        "origins": meta.get("origins", []),
        "mien": mien.__version__,
        "weights_stored_as": "fp16" if half else "fp32",
        "temperature_fitted_on": (fitted_on or recipe.data.validation) if calibration else None,
    }
    return export_onnx(
        network,
        path,
        name=name or recipe.name,
        labels=tuple(meta.get("labels", SEVEN)),
        preprocess=preprocess,
        calibration=calibration,
        calibration_tta=calibration_tta,
        provenance=provenance,
        weights="fp16" if half else "fp32",
        task=recipe.task,
    )


def parity(network: nn.Module, content: bytes, preprocess: Preprocess, *, tolerance: float) -> dict[str, float]:
    """Largest differences of logits and probabilities between torch and ONNX Runtime, over batches of 1, 3 and 16.

    Raises ExportError where a probability differs by more than ``tolerance``, a logit by more than ten times that
    fraction of the largest one, a row depends on its batch, or ONNX Runtime refuses the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no public base
        raise ExportError(
            f"expected a graph that ONNX Runtime can run, got: {error}", hint="no file was written"
        ) from error
    crops = preprocess.views(preprocess.normalise(sample_crops(16, preprocess)), tta=False)
    with torch.no_grad():
        expected = network(torch.from_numpy(crops)).float().numpy()
    got = {
        n: np.concatenate([session.run(None, {"crops": crops[i : i + n]})[0] for i in range(0, 16, n)])
        for n in (1, 3, 16)
    }
    logit = max(float(np.abs(g - expected).max()) for g in got.values())
    plain = Calibration()
    probability = max(
        float(np.abs(probabilities(g, plain) - probabilities(expected, plain)).max()) for g in got.values()
    )
    batch = float(np.abs(got[1] - got[16]).max())
    # Probabilities of 0 and 1 hide any difference: logits are held to their own scale as well.
    scale = max(1.0, float(np.abs(expected).max()))
    if not (probability <= tolerance and logit <= 10 * tolerance * scale and batch <= 1e-3 * scale):
        raise ExportError(
            f"parity gate: expected probabilities within {tolerance} of torch's (logits within {10 * tolerance:g} of "
            f"their scale, {scale:.3g}) and rows independent of their batch, "
            f"got {probability:.2g}, {logit:.2g} and {batch:.2g}",
            hint="no file was written",
        )
    return {"max_logit_difference": logit, "max_probability_difference": probability, "max_batch_difference": batch}


def sample_crops(n: int, preprocess: Preprocess) -> NDArray[np.uint8]:
    """Seeded uint8 N×C×S×S pictures for the gate: smooth blobs at random contrast, closer to faces than white noise."""
    random = np.random.default_rng(0)
    coarse = random.uniform(0, 255, (n, preprocess.channels, 6, 6))
    steps = np.linspace(0, 5, preprocess.size)
    spread = np.maximum(0, 1 - np.abs(steps[:, None] - np.arange(6)))  # S×6 linear interpolation
    smooth = spread @ coarse @ spread.T
    return np.clip(smooth + random.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)


def store_weights_as_half(model: onnx.ModelProto, *, smallest: int = 1024) -> None:
    """Keep float32 weights of at least ``smallest`` numbers as float16, cast back in the graph (folded when loaded)."""
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < smallest or np.abs(values).max() > 6e4:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name=f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT, name=f"{name}.cast"))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _to_onnx(network: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    noisy = logging.getLogger("torch.onnx")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            program = torch.onnx.export(
                network,
                (example,),
                input_names=["crops"],
                output_names=["logits"],
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        raise ExportError(f"expected a network that torch can export, got: {error}") from error
    finally:
        noisy.setLevel(level)
    assert program is not None
    model = program.model_proto
    del model.graph.value_info[:]  # stale names and torch's traces: half of a small file
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.metadata_props[:]
    del model.functions[:]
    return model
