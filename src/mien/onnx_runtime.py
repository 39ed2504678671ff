"""ONNX Runtime sessions, created in the same way for every network: threads, device, no log output.

On a GPU, ONNX Runtime's package for it (``onnxruntime-gpu``) takes the place of ``onnxruntime``. It falls back to the
processor without an error where CUDA does not start; here that is a UsageError, since whoever asks for a GPU wants to
know.
"""

import os
import platform
import sys
from contextlib import redirect_stdout
from typing import Any

from mien.errors import UsageError

DEVICES = ("cpu", "cuda")
_CUDA = "CUDAExecutionProvider"
# the processor's numbers, and no search for the fastest kernel at every new size of picture
_CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


def default_threads() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_threads(asked: int | None) -> int:
    """As many as asked for, None for all, but no more than cores: more only wait for each other, and take memory."""
    return min(asked or default_threads(), default_threads())


def int8_is_exact() -> bool:
    """Whether sums of products of eight-bit numbers are exact here: ARM, or x86 with VNNI; False where it is not known.

    Without VNNI, x86 adds pairs of products in 16 bits, which saturate.
    """
    machine = platform.machine().lower()
    if machine in ("arm64", "aarch64"):
        return True
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((line.split() for line in file if line.startswith("flags")), [])
    except OSError:
        return False
    return "avx512_vnni" in flags or "avx_vnni" in flags


def check_device(device: str) -> None:
    """Raises UsageError where there is no such device, or where the installed ONNX Runtime cannot use it."""
    if device not in DEVICES:
        raise UsageError(f"expected a device of {', '.join(DEVICES)}, got {device!r}")
    if device == "cuda":
        import onnxruntime as ort

        available = ort.get_available_providers()
        if _CUDA not in available:
            raise UsageError(
                f"expected ONNX Runtime for CUDA, got one for {', '.join(available)} alone",
                hint="pip uninstall onnxruntime, then pip install onnxruntime-gpu; or leave out the device",
            )


def make_session(model: bytes, *, threads: int, device: str = "cpu") -> Any:
    """An ``onnxruntime.InferenceSession`` of a serialized model. threads: of one run, on the processor.

    Raises UsageError as :func:`check_device` does, or where CUDA does not start; ONNX Runtime's own exceptions, which
    share no public base, where the model is none.
    """
    check_device(device)
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if threads > 1:  # idle threads that spin would take the time of those that decode and search other pictures
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what goes wrong comes as an exception, not as a line on stderr
    if device == "cpu":
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    if hasattr(ort, "preload_dlls"):
        with redirect_stdout(sys.stderr):  # it prints what it does not find; stdout is data
            ort.preload_dlls()  # CUDA and cuDNN as pip installs them, which the loader does not find by itself
    session = ort.InferenceSession(model, options, providers=[(_CUDA, _CUDA_OPTIONS), "CPUExecutionProvider"])
    if _CUDA not in session.get_providers():
        raise UsageError(
            "expected a GPU that ONNX Runtime can use, but CUDA did not start",
            hint="it takes an NVIDIA driver, and CUDA and cuDNN of the versions that onnxruntime-gpu names",
        )
    return session
