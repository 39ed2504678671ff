"""The types of the service's bodies, for OpenAPI and for checking requests.

``ReadingModel`` and ``FailureModel`` describe what ``results.Reading.to_dict`` and ``ReadFailure.to_dict`` give, the
command's JSON. Answers are made by those; these types describe them, and tests hold both together. Their JSON schema is
docs/schemas/reading.json.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, RootModel

Probability = Annotated[float, Field(ge=0, le=1)]
EXAMPLE: dict[str, Any] = {
    "source": "photo.jpg",
    "width": 512,
    "height": 600,
    "time_s": None,
    "faces": [
        {
            "box": [177.46, 80.69, 140.55, 184.29],
            "score": 0.8861,
            "expression": "happy",
            "confidence": 0.9124,
            "probabilities": {
                "angry": 0.0059,
                "disgust": 0.0009,
                "fear": 0.0057,
                "happy": 0.9124,
                "sad": 0.0143,
                "surprise": 0.0072,
                "neutral": 0.0536,
            },
            "track": None,
            "landmarks": [[218.4, 157.1], [281.9, 153.6], [252.3, 190.2], [226.7, 222.4], [279.5, 219.9]],
            "roll": -3.1,
            "yaw": 4.2,
            "pitch": 6.0,
        }
    ],
}
EXAMPLE_FAILURE: dict[str, Any] = {
    "source": "broken.jpg",
    "error": {"type": "truncated", "message": "expected a whole JPEG picture, got one that is cut off"},
}
EXAMPLE_INPUT: dict[str, Any] = {
    "image": "R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs=",
    "name": "pixel.gif",
}
EXAMPLE_PROBLEM: dict[str, Any] = {
    "type": "urn:mien:problem:too_large",
    "title": "Picture too large",
    "status": 413,
    "detail": "expected at most 50,000,000 pixels, got 20000×20000 = 400,000,000",
    "kind": "too_large",
}


class FaceModel(BaseModel):
    """One face: where it is, and its apparent expression (what it looks like, not what the person feels)."""

    box: tuple[float, float, float, float] = Field(description="left, top, width, height in pixels, upright")
    score: Probability = Field(description="of the detector")
    expression: str | None = Field(description="the most probable label; null below --min-confidence")
    confidence: Probability
    probabilities: dict[str, Probability] = Field(description="calibrated, by label; they sum to 1")
    track: int | None
    landmarks: list[tuple[float, float]] | None = Field(
        description="x, y of the eyes, nose and mouth corners, the picture's left first; null without landmarks"
    )
    roll: float | None = Field(description="of the head, in degrees")
    yaw: float | None
    pitch: float | None


class ReadingModel(BaseModel):
    """One picture and its faces, largest first: exactly a line of ``mien read --format jsonl``."""

    model_config = ConfigDict(title="Reading", json_schema_extra={"examples": [EXAMPLE]})

    source: str = Field(description="the picture's name as the request gave it, or <bytes>")
    width: int = Field(ge=1, description="pixels, after EXIF rotation")
    height: int = Field(ge=1)
    time_s: float | None = Field(description="of a video frame")
    faces: list[FaceModel]


class ErrorModel(BaseModel):
    """Why a picture could not be read. type: missing, empty, unreadable, truncated, too_large, unsupported, …"""

    type: str
    message: str


class FailureModel(BaseModel):
    """A picture of a batch that could not be read: the error record of ``mien read``."""

    model_config = ConfigDict(title="Failure", json_schema_extra={"examples": [EXAMPLE_FAILURE]})

    source: str
    error: ErrorModel


class ResultModel(RootModel[ReadingModel | FailureModel]):
    """One object of ``mien read --format jsonl``: a reading, or the error record of a picture that was not read."""

    model_config = ConfigDict(title="Result")


class BatchModel(BaseModel):
    """The results of a batch, in the order of its pictures."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"results": [EXAMPLE, EXAMPLE_FAILURE]}]})

    results: list[ReadingModel | FailureModel]


class ServedModel(BaseModel):
    """A model that the service has loaded."""

    name: str
    summary: str
    labels: list[str]
    input: str
    temperature: float
    floor: float
    sha256: str
    parameters: int | None = None
    valid_accuracy: float | None = None


class ModelsModel(BaseModel):
    """The models that requests can name; the first is the default."""

    models: list[ServedModel]


class StateModel(BaseModel):
    """Whether the service lives, or is ready."""

    status: str


class ProblemModel(BaseModel):
    """A failure (RFC 9457): ``detail`` says what was expected, what came, what to do; ``kind`` is for programs."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_PROBLEM]})

    type: str
    title: str
    status: int
    detail: str
    kind: str


class PictureInput(BaseModel):
    """A picture in JSON."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE_INPUT]})

    image: str = Field(min_length=1, description="base64 of the file's bytes, or a data: URL; no other URL is fetched")
    name: str | None = Field(default=None, description="comes back as source")


class BatchInput(BaseModel):
    """Pictures in JSON."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"images": [EXAMPLE_INPUT]}]})

    images: list[PictureInput] = Field(min_length=1)
