"""The work of ``mien read`` on files: photos in batches, videos one by one, written in the order of the inputs.

What is read of a video is kept in a journal beside the output until the output is whole; so the same command goes on
after any interruption.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import TYPE_CHECKING

from mien.atomic import remove_abandoned
from mien.cli.streams import silence_stdout
from mien.errors import ImageError, MienError, MissingExtra, OutputError, UsageError
from mien.results import ReadFailure, Reading
from mien.showable import one_line

if TYPE_CHECKING:
    from mien.cli.progress import Progress
    from mien.imaging import OnNote
    from mien.reading.items import Item, Pause, Stream
    from mien.reading.outputs import Writer
    from mien.reading.pictures import PictureFolder
    from mien.reading.reader import Reader
    from mien.timeline.collect import Collector
    from mien.video.journal import Journal
    from mien.video.read import VideoReader
    from mien.video.settings import VideoSettings

_SHARED = ".mien-journal"  # in the folder of --annotate


@contextmanager
def timeline_of(reader: "Reader", path: str | None) -> "Iterator[Collector | None]":
    """Collects readings for a timeline, which is drawn at the end where nothing failed; None without a path."""
    if path is None:
        yield None
        return
    from mien.timeline.collect import Collector
    from mien.timeline.draw import write_timeline

    collector = Collector(reader.labels)
    yield collector
    write_timeline(collector, path)


class ReadRun:
    """One call. pictures, timeline: where annotated copies and the timeline go, or None. journals: a folder for what
    was read so far, or None; it is removed by ``done``, when all is written."""

    def __init__(
        self,
        reader: "Reader",
        *,
        writer: "Writer",
        settings: "VideoSettings",
        progress: "Progress",
        pictures: "PictureFolder | None" = None,
        timeline: "Collector | None" = None,
        journals: str | None = None,
        quiet: bool = False,
    ) -> None:
        self._reader, self._writer, self._settings, self._progress = reader, writer, settings, progress
        self._pictures, self._timeline, self._journals, self._quiet = pictures, timeline, journals, quiet
        self._opened: set[str] = set()  # journals
        self._drawn: set[str] = set()  # videos of the timeline, each once though it is given twice

    def read(self, items: "Stream") -> bool:
        """All of it. False where nobody reads the output any more."""
        try:
            for is_video, group in groupby(items, key=_is_video):
                if is_video:
                    for item in group:
                        self._video(item)  # type: ignore[arg-type]
                else:
                    self._photos(group)
        except BrokenPipeError:  # | head has seen enough
            silence_stdout()
            return False
        except KeyboardInterrupt:
            if self._journals is not None and os.path.isdir(self._journals) and not self._quiet:
                self._progress.note("what was read of the video is kept; the same command resumes after it")
            raise
        return True

    def _photos(self, items: "Iterator[Item | Pause]") -> None:
        note = None if self._quiet else self._progress.note
        for result in self._reader.stream(items, keep_pictures=self._pictures is not None, on_note=note):
            self._writer.write(result.reading)
            if isinstance(result.reading, ReadFailure):
                self._progress.failure(result.reading, tell=not self._quiet)
                continue
            self._progress.advance(len(result.reading.faces))
            if self._pictures is not None and result.picture is not None and result.item is not None:
                self._pictures.save(result.picture, result.reading, result.item)

    def _video(self, item: "Item") -> None:
        try:
            video = self._open(item, tell=True)
            journal = self._journal(video, tell=True)
        except (ImageError, MissingExtra) as error:
            self._fail(ReadFailure(item.source, error.type, str(error)))
            return
        frames = faces = 0
        named = os.path.realpath(video.path)
        timeline = None if named in self._drawn else self._timeline
        self._drawn.add(named)
        self._progress.begin_video(
            item.source, video.info.duration_s if video.settings.end is None else video.settings.end
        )
        try:
            for result in self._results(video, journal):
                self._writer.write(result)
                if isinstance(result, ReadFailure):
                    self._progress.failure(result, tell=not self._quiet)
                    continue
                frames, faces = frames + 1, faces + len(result.faces)
                self._progress.frame(result.time_s or 0.0, len(result.faces))
                if timeline is not None:
                    timeline.add(result, path=video.path)
        finally:
            if journal is not None:
                journal.close()
            self._progress.end_video()
        if frames and self._pictures is not None:
            self._annotate(item, frames)

    def _results(self, video: "VideoReader", journal: "Journal | None") -> "Iterator[Reading | ReadFailure]":
        """What is read; any error of it as a failure: one video never ends the others."""
        try:
            yield from video.read(journal)
        except OutputError:  # the journal cannot be written
            raise
        except MienError as error:
            yield ReadFailure(video.source, error.type, str(error))
        except MemoryError:
            yield ReadFailure(video.source, "too_large", "its frames do not fit into memory")
        except Exception as error:  # a fault of ours; `mien --debug` shows the traceback
            logging.getLogger("mien").debug("while reading %s", video.source, exc_info=True)
            yield ReadFailure(video.source, "internal", f"{type(error).__name__}: {one_line(error, most=200)}")

    def _open(self, item: "Item", *, tell: bool) -> "VideoReader":
        from mien.video.read import VideoReader

        assert isinstance(item.data, str)
        note = self._note_of(item) if tell else None
        return VideoReader(item.data, self._reader, self._settings, source=item.source, on_note=note)

    def _note_of(self, item: "Item") -> "OnNote | None":
        return None if self._quiet else (lambda text: self._progress.note(f"{item.source}: {text}"))

    def _journal(self, video: "VideoReader", *, tell: bool) -> "Journal | None":
        if self._journals is None:
            return None
        from mien.video.journal import Journal, journal_name

        about = video.about()
        path = os.path.join(self._journals, journal_name(about))
        self._opened.add(path)
        journal = Journal(path, about)
        if journal.count and journal.last is not None and tell and not self._quiet:
            self._progress.note(f"{video.source}: {journal.count:,} frames were read before; going on behind them")
        return journal

    def _annotate(self, item: "Item", frames: int) -> None:
        from mien.timeline.annotated import write_annotated

        assert self._pictures is not None
        assert isinstance(item.data, str)
        video = self._open(item, tell=False)
        journal = self._journal(video, tell=False)
        path = self._pictures.reserve(item, ".mp4")
        readings = (result for result in video.read(journal) if isinstance(result, Reading))
        note = self._note_of(item)
        self._progress.begin_video(f"annotating {item.source}", float(frames), unit="frames")
        try:
            for number in write_annotated(item.data, readings, path, settings=self._settings, on_note=note):
                self._progress.annotated(number)
        except (OutputError, UsageError):
            raise
        except Exception as error:  # its readings are written, and other videos go on
            logging.getLogger("mien").debug("while annotating %s", item.source, exc_info=True)
            why = f"its annotated copy cannot be written: {one_line(error, most=200)}"
            self._progress.failure(ReadFailure(item.source, "internal", why), tell=not self._quiet)
        finally:
            self._progress.end_video()
            if journal is not None:
                journal.close()

    def _fail(self, failure: ReadFailure) -> None:
        self._writer.write(failure)
        self._progress.failure(failure, tell=not self._quiet)

    def done(self, output: str | None) -> None:
        """The output is whole: what was kept to go on, and halves that killed runs left beside it, are not needed."""
        if self._journals is not None and os.path.basename(self._journals) == _SHARED:  # with other calls
            for path in self._opened:
                with suppress(OSError):
                    os.unlink(path)
            with suppress(OSError):
                os.rmdir(self._journals)
        elif self._journals is not None:
            shutil.rmtree(self._journals, ignore_errors=True)
        if output is not None and os.path.isfile(output):
            remove_abandoned(output)


def journal_folder(output: str | None, annotate: str | None, timeline: str | None) -> str | None:
    """Where journals are kept: hidden beside the first file or in the folder that the call writes; None for a call
    that only prints."""
    if output is not None and (not os.path.exists(output) or os.path.isfile(output)):
        beside = output
    elif annotate is not None:
        return os.path.join(annotate, _SHARED)
    elif timeline is not None:
        beside = timeline
    else:
        return None
    folder, name = os.path.split(os.path.realpath(beside))
    return os.path.join(folder, f".{name[:80]}.journal")


def _is_video(item: "Item | Pause") -> bool:
    return getattr(item, "is_video", False)
