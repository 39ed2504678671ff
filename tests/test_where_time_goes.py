"""The benchmarks' rule of what bounds a step, in closed form: a GPU is needed for the measuring, not for this."""

import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def rule() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import where_time_goes
    finally:
        sys.path.remove(str(BENCHMARKS))
    return where_time_goes


def event(cat: str, name: str, start: float, length: float) -> dict[str, Any]:
    return {"ph": "X", "cat": cat, "name": name, "ts": start, "dur": length}


def test_only_what_ran_on_the_device_counts_and_once(rule: Any) -> None:
    trace = {
        "traceEvents": [
            event("kernel", "sm90_xmma_gemm", 0, 10),
            event("kernel", "elementwise", 5, 10),  # beside the first, on another stream
            event("gpu_memcpy", "Memcpy HtoD", 100, 5),
            event("gpu_user_annotation", "Optimizer.step#SGD.step", 0, 200),
            event("cpu_op", "aten::conv2d", 0, 200),
            {"ph": "M", "name": "process_name"},
        ]
    }
    work = rule.device_work(trace)
    assert [name for name, _, _ in work] == ["sm90_xmma_gemm", "elementwise", "Memcpy HtoD"]
    assert rule.busy_seconds(work) == pytest.approx(20e-6)
    assert rule.matrix_share(work) == pytest.approx(10 / 25)
    assert rule.busy_seconds([]) == rule.matrix_share([]) == 0


@pytest.mark.parametrize(
    "name",
    ["nvjet_tst_128x64", "cudnn_generated_fort_native_convolution", "sm80_xmma_wgrad_implicit", "triton_tem_fused"],
)
def test_products_are_known_by_name(rule: Any, name: str) -> None:
    assert rule.matrix_share([(name, 0, 1)]) == 1


@pytest.mark.parametrize(
    "name", ["triton_poi_fused_relu", "batch_norm_backward_kernel", "vectorized_elementwise_kernel"]
)
def test_and_so_is_the_rest(rule: Any, name: str) -> None:
    assert rule.matrix_share([(name, 0, 1)]) == 0


def test_the_rule(rule: Any) -> None:
    assert rule.bound(busy=0.69, matrix=1) == "host"
    assert rule.bound(busy=0.7, matrix=0.5) == "compute"
    assert rule.bound(busy=0.99, matrix=0.49) == "memory"


def test_peaks_are_those_of_the_chip_named(rule: Any) -> None:
    assert rule.peak_tflops("NVIDIA H100 80GB HBM3") == 989
    assert rule.peak_tflops("NVIDIA H100 PCIe") == 756
    assert rule.peak_tflops("NVIDIA H200") == 989
    assert rule.peak_tflops("cpu (x86_64)") is None
