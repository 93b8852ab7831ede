"""Reads a page strictly, and says what it would fetch or run."""

from __future__ import annotations

import re
from html.parser import HTMLParser

# HTML's own elements that have no end, of those that the page uses.
VOID = {"meta"}
# Everything by which a page can fetch something.
FETCHING = {"src", "href", "srcset", "action", "data", "poster", "background", "formaction", "ping", "manifest", "xlink:href", "style"}
RUNNING = {"script", "link", "img", "iframe", "object", "embed", "form", "base", "foreignobject"}


class Reader(HTMLParser):
    """Reads a page as a browser does, and complains of what a browser mends in silence."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data))


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def texts_in(reader: Reader, tag: str) -> list[str]:
    return [text for element, text in reader.texts if element == tag]


def what_it_wants(text: str) -> list[str]:
    """Everything in a page that would load something, lead somewhere or run."""
    tags = read(text).tags
    found = [f"{tag} {name}" for tag, attributes in tags for name in attributes if name in FETCHING or name.startswith("on")]
    found += [tag for tag, _ in tags if tag in RUNNING]
    return found + re.findall(r"https?:|//|url\(|@import|javascript:", text)
