"""The C library's allocator, told to keep the memory of one picture for the next.

glibc returns large blocks to the system as soon as they are freed and asks for them again; each of their pages is then
faulted in and cleared anew. A photo of 12 megapixels takes 37,000 such faults, a third of its processor time
(docs/speed.md). Only for processes that are mien's own: how a host program allocates is its business.
"""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 256 << 20  # bytes at the heap's end that are freed and not returned
LARGEST = 32 << 20  # of a block that is taken from the heap; glibc allows no more


def keep_memory() -> bool:
    """For the rest of this process; whether it could be done: not with another C library, nor where MALLOC_… is set."""
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, LARGEST) and mallopt(_TRIM_THRESHOLD, KEPT))
