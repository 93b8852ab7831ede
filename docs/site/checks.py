"""What must hold of a built site: no dead link, nothing that a browser would fetch from elsewhere, no Markdown left in the text.

zensical checks links between Markdown files; these look at what it made of them, as a browser does.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Elements whose address a browser fetches by itself, and the attribute with it.
FETCHED = {
    "script": "src",
    "img": "src",
    "source": "src",
    "iframe": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
}
# Of <link>, these do not make a request; a canonical address is one for search engines.
NOT_FETCHED = frozenset({"canonical", "next", "prev", "alternate", "edit"})
# zensical's script fetches a program from elsewhere for elements of these classes.
FOREIGN_CLASSES = frozenset({"mermaid", "glightbox", "pyodide", "ace"})

_IN_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?(https?:)?//""")
# A list after a line of text, a link or a fence that was not taken for one.
_LEFT = re.compile(r"(^|\n)- \S|\]\(\S+\)|^```|<!--", re.MULTILINE)


@dataclass
class Page:
    """What a page of HTML has of it."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)
    prose: list[str] = field(default_factory=list)
    """The texts of paragraphs and cells, without code."""


class _Reader(HTMLParser):
    """Reads one page."""

    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._open.append(tag)
        self.page.anchors.update(given[name] for name in ("id", "name") if given.get(name))
        self.page.classes.update(given.get("class", "").split())
        if tag == "a" and "href" in given:
            self.page.links.append(given["href"])
        if tag == "link" and not NOT_FETCHED.intersection(given.get("rel", "").split()):
            self.page.fetched.append(given.get("href", ""))
        if tag in FETCHED and given.get(FETCHED[tag]):
            self.page.fetched.append(given[FETCHED[tag]])

    def handle_endtag(self, tag: str) -> None:
        # A void element has no end: what was opened after this one is over as well.
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if {"p", "td", "th", "li"}.intersection(self._open) and not {"code", "pre", "script", "style"}.intersection(self._open):
            self.page.prose.append(data)


def read(html: str) -> Page:
    """Return what a page has."""
    reader = _Reader()
    reader.feed(html)
    return reader.page


def faults(site: Path, url: str = "") -> list[str]:
    """Return a line for everything that does not hold, with the page that has it; none for a site that is right. `url` is the address for
    which it was built, "" for none."""
    pages = {file.relative_to(site).as_posix(): read(file.read_text()) for file in sorted(site.rglob("*.html"))}
    found = [
        f"{name}: {line}" for name, page in pages.items() for line in [*_dead(name, page, pages, site, url), *_foreign(page), *_left(page)]
    ]
    return [*found, *_foreign_styles(site)]


def _dead(name: str, page: Page, pages: dict[str, Page], site: Path, url: str) -> list[str]:
    lines = []
    for link in [*page.links, *page.fetched]:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        there = _target(name, unquote(parts.path), unquote(urlsplit(url).path))
        if not (site / there).is_file() or there.startswith(".."):
            lines.append(f"{link} leads nowhere")
        elif parts.fragment and there in pages and unquote(parts.fragment) not in pages[there].anchors:
            lines.append(f"{link}: the page has no such anchor")
    return lines


def _target(name: str, path: str, root: str) -> str:
    """Return the file that a path leads to from this page, seen from the folder of the site. A path from the root is in the page for
    missing addresses, which is shown at any of them."""
    if not path:
        return name
    folder = posixpath.dirname(name)
    if path.startswith("/"):
        folder, path = "", path.removeprefix(root or "/").lstrip("/") or "."
    file = posixpath.normpath(posixpath.join(folder, path))
    return file if posixpath.splitext(file)[1] else posixpath.normpath(posixpath.join(file, "index.html"))


def _foreign(page: Page) -> list[str]:
    away = [address for address in page.fetched if urlsplit(address).netloc]
    return [f"{address} is fetched from elsewhere" for address in away] + [
        f"an element of class {name} makes the browser fetch a program from elsewhere" for name in sorted(FOREIGN_CLASSES & page.classes)
    ]


def _left(page: Page) -> list[str]:
    return [f"Markdown is left in the text: {text.strip()[:60]!r}" for text in page.prose if _LEFT.search(text)]


def _foreign_styles(site: Path) -> list[str]:
    return [
        f"{file.relative_to(site)}: a style sheet fetches from elsewhere"
        for file in sorted([*site.rglob("*.css"), *site.rglob("*.html")])
        if _IN_STYLE.search(file.read_text())
    ]
