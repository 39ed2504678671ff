"""What detectors that are a network in ONNX Runtime share: options, session and pickling."""

from typing import Any, ClassVar

from mien.errors import MienError, ModelError
from mien.faces.weights_cache import PackagedFile
from mien.onnx_runtime import make_session


class NetworkDetector:
    """A detector whose weights come from an installed package.

    detect_size: longer side of the detail view in pixels (default: chosen for each picture). threads: of one search.
    min_score: 0-1 (default: the detector's own). device: "cpu" or "cuda". Can be pickled. Raises ModelError where the
    weights are missing or broken, UsageError where the device cannot be used.
    """

    weights: ClassVar[PackagedFile]
    default_score: ClassVar[float]

    def __init__(
        self,
        *,
        detect_size: int | None = None,
        threads: int = 1,
        min_score: float | None = None,
        device: str = "cpu",
    ) -> None:
        self._options = {"detect_size": detect_size, "threads": threads, "min_score": min_score, "device": device}
        self._detect_size = detect_size
        self._min_score = self.default_score if min_score is None else min_score
        try:
            self._session = make_session(self.weights.model_bytes(), threads=threads, device=device)
        except MienError:
            raise
        except Exception as error:  # ONNX Runtime's own errors share no public base
            raise ModelError(
                f"expected a face detector that runs, got {error}", hint=f"reinstall {self.weights.package}"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs to make the same detector: sessions cannot be pickled."""
        return self._options

    def __setstate__(self, options: dict[str, Any]) -> None:
        NetworkDetector.__init__(self, **options)
