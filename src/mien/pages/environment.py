"""The one Jinja2 environment: HTML is escaped, an undefined name is an error, nothing is fetched.

Jinja2 is imported on the first page (extra ``train``).
"""

import base64
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import MissingExtra
from mien.pages import format
from mien.showable import showable

if TYPE_CHECKING:
    from jinja2 import Environment
    from jinja2.nodes import EvalContext

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, /, **values: Any) -> str:
    """The text of a template in ``templates/``. Raises MissingExtra without Jinja2."""
    return environment().get_template(template).render(values)


@cache
def environment() -> "Environment":
    """With the filters of ``format.py``, and ``data_uri``. Raises MissingExtra without Jinja2."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_eval_context, select_autoescape
    except ImportError as error:
        raise MissingExtra("jinja2", "train") from error

    @pass_eval_context
    def shown_in(context: "EvalContext", value: Any) -> Any:
        return showable(value) if context.autoescape and type(value) is str else value

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=shown_in,
    )
    for shown in (
        format.interval,
        format.percent,
        format.number,
        format.points,
        format.p_value,
        format.thousands,
        format.magnitude,
        format.proportion,
        format.plural,
        format.markdown,
    ):
        made.filters[shown.__name__] = shown
    made.filters |= {"data_uri": data_uri, "json": json.dumps}
    return made


def data_uri(content: bytes, kind: str = "svg+xml") -> str:
    """An image inside a page. kind: svg+xml, png or jpeg. An SVG is so an image of its own: its ids meet no others."""
    from markupsafe import Markup

    return Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}")
