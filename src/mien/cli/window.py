"""``--show``: a window with the camera's picture and what is read of it, with tkinter. Nothing of it is stored."""

import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import UsageError
from mien.results import Reading


class Window:
    """Raises UsageError where there is no display or no tkinter."""

    def __init__(self, title: str) -> None:
        linux = sys.platform not in ("darwin", "win32")
        if linux and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UsageError("--show needs a display, and there is none", hint="leave it out, or use --timeline")
        try:
            import tkinter
        except ImportError as error:
            raise UsageError("--show needs tkinter, which this Python lacks", hint="install python3-tk") from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise UsageError(f"--show cannot open a window: {error}") from error
        self._open = True
        self._image: Any = None
        self._root.title(title)
        self._label = tkinter.Label(self._root)
        self._label.pack()
        self._root.protocol("WM_DELETE_WINDOW", self._closed)

    def show(self, picture: NDArray[np.uint8], reading: Reading) -> bool:
        """picture: uint8 H×W×3. False where the window has been closed."""
        if not self._open:
            return False
        from PIL import ImageTk

        from mien.reading.annotate import annotate

        self._image = ImageTk.PhotoImage(annotate(picture, reading.faces, in_place=True), master=self._root)
        self._label.configure(image=self._image)
        self._root.update()
        return self._open

    def _closed(self) -> None:
        self._open = False

    def close(self) -> None:
        self._image = None
        self._root.destroy()
