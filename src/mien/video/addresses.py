"""Words that name a camera or a network stream: told from those of files before anything of a video is loaded."""

import os

CAMERA = "camera:"
NETWORK = ("rtsp://", "rtsps://", "http://", "https://")


def is_live(path: str, *, allow_network: bool) -> bool:
    """Whether this word names a camera or network stream, not a file. An address on the web may be a picture's: it is
    taken for a stream only where the network is allowed."""
    streams = NETWORK if allow_network else NETWORK[:2]
    return (path.startswith(CAMERA) or path.lower().startswith(streams)) and not os.path.lexists(path)
