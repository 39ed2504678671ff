"""Pages as a browser would read them, and names that try to be more than text."""

from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "img", "br"}
#: A name that is markup, an attribute, a template and a control character.
BAD = "<script>alert(1)</script>\" onerror='x' &amp; {{ 7 * 7 }} {% raw %} \x07"
#: As it must be seen.
SHOWN = BAD.replace("\x07", "�")


class Page(HTMLParser):
    """What a browser would build: tags that close, images, text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def images(self) -> list[str]:
        return [attrs["src"] or "" for tag, attrs in self.tags if tag == "img"]


def with_bad_names(value: Any, *, keep: frozenset[str] | set[str] = frozenset()) -> Any:
    """The same lists and mappings, each text after a bad name; but for the values of the keys in ``keep``."""
    if isinstance(value, dict):
        return {key: one if key in keep else with_bad_names(one, keep=keep) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [with_bad_names(one, keep=keep) for one in value]
    return f"{BAD}{value}" if isinstance(value, str) else value


def is_only_text(content: str) -> bool:
    """Whether bad names are on a page, as text and as nothing else."""
    if "<script" in content or "\x07" in content:
        return False
    page = Page(content)
    attributes = {name for _, attrs in page.tags for name in attrs}
    return SHOWN in page.words() and "onerror" not in attributes
