"""How a video is read: the options of ``mien read`` and ``Reader.video``, checked in one place."""

from dataclasses import dataclass

from mien.errors import UsageError
from mien.video.frames import check_times

SMOOTH_S = 0.4  # default width of the smoothing window, seconds
GAP_S = 1 / 6  # between two detections at most, by default


@dataclass(frozen=True, slots=True)
class VideoSettings:
    """fps: most frames read per second; None reads all. every: faces are detected in every n-th frame that is read,
    and followed in between; None chooses so that detections are at most a sixth of a second apart. start, end: seconds
    of the stream. smooth: width of the smoothing window in seconds, 0 for none; None is the default, 0 without tracks.
    track: follow persons through the frames. Raises UsageError.
    """

    fps: float | None = None
    every: int | None = None
    start: float | None = None
    end: float | None = None
    smooth: float | None = None
    track: bool = True

    def __post_init__(self) -> None:
        check_times(self.start, self.end)
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise UsageError(f"expected fps above 0 and up to 1000, got {self.fps:g}")
        if self.every is not None and not 1 <= self.every <= 100:
            raise UsageError(f"expected every from 1 to 100 frames, got {self.every}")
        if self.smooth is not None and not 0 <= self.smooth <= 60:
            raise UsageError(f"expected smooth from 0 to 60 seconds, got {self.smooth:g}")
        if not self.track and self.smooth:
            raise UsageError("smoothing follows a person, so it needs tracks", hint="leave out --no-track or --smooth")

    @property
    def smooth_s(self) -> float:
        """The width that holds, in seconds; 0 for no smoothing."""
        if self.smooth is None:
            return SMOOTH_S if self.track else 0.0
        return self.smooth

    def every_at(self, rate: float | None) -> int:
        """Frames from one search to the next, for a video of that many frames a second (None: unknown)."""
        if self.every is not None:
            return self.every
        read = min(rate or 30.0, self.fps or float("inf"))
        return min(max(1, int(read * GAP_S + 1e-6)), 100)
