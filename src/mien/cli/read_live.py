"""``mien read camera:0``: JSON Lines as they come, until Ctrl-C, ``--end`` or the end of the source."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mien.cli.progress import LINE_EVERY_S, Meter
from mien.cli.streams import silence_stdout
from mien.pages.format import plural

if TYPE_CHECKING:
    from mien.cli.window import Window
    from mien.reading.outputs import Writer
    from mien.reading.reader import Reader
    from mien.timeline.collect import Collector
    from mien.video.live import LiveReader
    from mien.video.settings import VideoSettings


class LiveMeter(Meter):
    """A line now and then, and one at the end: frames, dropped frames, faces."""

    def __init__(self, name: str, *, shown: bool) -> None:
        super().__init__(shown=shown)
        self._name = name
        self.frames = self.faces = 0

    def tell(self, dropped: int) -> None:
        seconds = max(time.monotonic() - self._started, 1e-6)
        note = f"{self.frames / seconds:.1f}/s, {dropped:,} dropped"
        line = f"{self._name}: {plural(self.frames, 'frame')} read, {note}"
        self._show("camera", self.frames, None, note, line, every=LINE_EVERY_S)

    def sum_up(self, dropped: int, lag_s: float) -> None:
        if self._shown:
            seconds = time.monotonic() - self._started
            lag = f"; smoothed with a lag of {lag_s:g} s" if lag_s else ""
            read = f"{plural(self.frames, 'frame')} read, {dropped:,} dropped, {plural(self.faces, 'face')}"
            self.say(f"{self._name}: {read} in {seconds:.1f} s{lag}")


def read_live(
    reader: "Reader",
    settings: "VideoSettings",
    paths: list[str],
    chosen: str,
    output: str | None,
    timeline: str | None,
    *,
    allow_network: bool,
    annotate: str | None,
    show: bool,
    quiet: bool,
) -> None:
    """Read a camera or network stream, alone. Raises UsageError for what does not go with one."""
    from mien.cli.read_run import timeline_of
    from mien.errors import UsageError
    from mien.reading import outputs
    from mien.video.live import LiveReader, open_source

    if len(paths) > 1:
        raise UsageError(f"a camera is read alone, got {len(paths)} paths", hint="start one command for each")
    if annotate is not None:
        raise UsageError("--annotate needs a file, got a camera", hint="--show shows what is read")
    window = None
    if show:
        from mien.cli.window import Window

        window = Window(f"mien {paths[0]}")
    live = LiveReader(open_source(paths[0], allow_network=allow_network), reader, settings)
    with (
        timeline_of(reader, timeline) as collector,
        outputs.open_writer(chosen, output=output, labels=reader.labels, stdout=sys.stdout.buffer) as writer,
    ):
        run_live(live, name=paths[0], writer=writer, collector=collector, window=window, quiet=quiet)


def run_live(
    live: "LiveReader",
    *,
    name: str,
    writer: "Writer",
    collector: "Collector | None",
    window: "Window | None",
    quiet: bool,
) -> None:
    """Read, write and show until the end. The first Ctrl-C ends it in order, a second one at once."""
    with LiveMeter(name, shown=not quiet) as meter, _on_interrupt(live.stop):
        try:
            for reading in live:
                writer.write(reading)
                meter.frames, meter.faces = meter.frames + 1, meter.faces + len(reading.faces)
                meter.tell(live.dropped)
                if collector is not None:
                    collector.add(reading)
                if window is not None and live.picture is not None and not window.show(live.picture, reading):
                    live.stop()
        except BrokenPipeError:  # | head has seen enough
            silence_stdout()
        finally:
            if window is not None:
                window.close()
        meter.sum_up(live.dropped, live.lag_s)


@contextmanager
def _on_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Within, the first SIGINT calls ``stop``; the second one is a KeyboardInterrupt as ever."""

    def handle(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    try:
        before = signal.signal(signal.SIGINT, handle)
    except ValueError:  # not in the main thread: nobody presses Ctrl-C there
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
