"""The reasons for which sources drop images, defined once, so that drops are counted across sources.

A drop's reason is one of these; what exactly was found is in its detail. FER2013's own stand in
``fer2013_readers.py``.
"""

from mien.errors import ImageError

#: Listed or labelled, but not on the disk: what an interrupted copy leaves.
MISSING = "file missing"
NOT_AN_IMAGE = "not an image file"
OUTSIDE = "image outside of the class folders"
#: In the folder of the pictures, but the list of labels does not name it.
UNLISTED = "image that no label names"
#: A second picture for one label: ``7.png`` beside ``7.jpg``. The first by name is taken.
DUPLICATE_NAME = "duplicate name"
NAME = "unknown file name"
ROW = "malformed row"
ANNOTATION = "unreadable annotation"
NO_ANNOTATION = "annotation missing"
SPLIT = "unknown split"
AFFECT = "valence or arousal out of -1 to 1"
UNREADABLE = "unreadable image"
TRUNCATED = "truncated image"
TOO_LARGE = "image too large"

NO_SEQUENCE = "image outside of the sequences"
UNLABELLED_SEQUENCE = "sequence without an emotion label"
UNKNOWN_LABEL = "unknown label"
CODE = "label code out of range"
LEFT_OUT = "label left out by the names"

#: AffectNet's three codes that are no expression.
LABEL_NONE = "label none"
LABEL_UNCERTAIN = "label uncertain"
LABEL_NO_FACE = "label no face"


def of_image_error(error: ImageError) -> str:
    """The reason under which a picture that cannot be decoded is counted."""
    return {"missing": MISSING, "truncated": TRUNCATED, "too_large": TOO_LARGE}.get(error.type, UNREADABLE)
