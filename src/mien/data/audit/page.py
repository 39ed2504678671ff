"""``audit.html``: one file that opens offline, with every picture and chart inside and nothing fetched from elsewhere.

Made of ``audit.json``'s figures and the chosen examples; it computes nothing.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from mien.data.audit import charts
from mien.data.audit.examples import Sheet, Tile
from mien.data.audit.sheets import SIDE, enlarged, png, shown
from mien.pages.environment import data_uri, render


def page(result: dict[str, Any], sheets: Sequence[Sheet], images: Mapping[int, Image.Image]) -> str:
    """The whole page. images: number → thumbnail of every tile of every sheet. Raises MissingExtra."""
    labels, votes, pictures = result["labels"], result["votes"], result["pictures"]
    drawn = {
        "classes": charts.classes_svg(labels["by_split"]),
        "light": charts.light_svg(pictures["brightness"], pictures["contrast"]),
    }
    if votes is not None:
        drawn["votes"] = charts.votes_svg(votes)
        drawn["votes_against_labels"] = charts.votes_against_labels_svg(votes["label_against_majority"])
    examples = {
        sheet.name: {
            "title": sheet.title,
            "text": sheet.text,
            "shown": shown(sheet),
            "rows": [[_tile(tile, images[tile.number]) for tile in row] for row in sheet.rows],
        }
        for sheet in sheets
    }
    title = f"Audit of {result['store']['name']}"
    return render("audit.html.j2", title=title, result=result, sheets=examples, charts=drawn)


def _tile(tile: Tile, image: Image.Image) -> dict[str, Any]:
    """PNG for grey and for small pictures, which must be exact; JPEG for coloured thumbnails, to weigh less."""
    if image.mode == "L" or max(image.size) < SIDE:
        picture = data_uri(png(image), "png")
    else:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=88)
        picture = data_uri(buffer.getvalue(), "jpeg")
    width, height = enlarged(image).size
    return {
        "number": tile.number,
        "caption": tile.caption,
        "warn": tile.warn,
        "picture": picture,
        "width": width,
        "height": height,
    }
