"""What a reader chooses from: the headings and links of docs/README.md, which is the index on the forge, too.

The same list makes the navigation of the site and llms.txt, so that a page is put into one list and is found in three.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from docs.site.staged import ROOT

INDEX = ROOT / "docs" / "README.md"

_HEADING = re.compile(r"^(##|###) (.+)$")
_ENTRY = re.compile(r"^- (.+)$")
_LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s]+\.md)\)")


@dataclass(frozen=True, slots=True)
class Entry:
    """A page as the index names it."""

    path: str
    """On the site, as Markdown."""
    name: str
    text: str
    """The whole line of the index, without the marks of its link; "" where it names several pages."""


@dataclass(frozen=True, slots=True)
class Group:
    """What stands under a heading of the index: pages, and groups of the next level."""

    name: str
    entries: tuple[Entry, ...] = ()
    groups: tuple[Group, ...] = ()

    def all_entries(self) -> list[Entry]:
        """Return the pages of this group and of those in it, in order."""
        return [*self.entries, *(entry for group in self.groups for entry in group.all_entries())]


def groups(text: str, places: dict[str, str]) -> list[Group]:
    """Return the groups of an index. Raises KeyError for a link to what is no page."""
    top: list[Group] = []
    for head, lines in _sections(text):
        level, name = head
        entries = tuple(entry for line in lines for entry in _entries(line, places))
        if level == "##":
            top.append(Group(name, entries))
        else:
            over = top.pop()
            top.append(Group(over.name, over.entries, (*over.groups, Group(name, entries))))
    return top


def _sections(text: str) -> list[tuple[tuple[str, str], list[str]]]:
    found: list[tuple[tuple[str, str], list[str]]] = []
    for line in text.splitlines():
        heading = _HEADING.match(line)
        if heading:
            found.append(((heading[1], heading[2]), []))
        elif found and _ENTRY.match(line):
            found[-1][1].append(line[2:])
    return found


def _entries(line: str, places: dict[str, str]) -> list[Entry]:
    links = _LINK.findall(line)
    text = _LINK.sub(r"\1", line) if len(links) == 1 else ""
    entries = []
    for name, target in links:
        path = places[f"docs/{target}" if not target.startswith("../") else target.removeprefix("../")]
        entries.append(Entry(path, name[0].upper() + name[1:], text))
    return entries


def as_toml(of: list[Group]) -> str:
    """Return the navigation as zensical reads it: the front page, then the groups. A page has its own heading as its name there."""
    items = ['{ "Start here" = "index.md" }', *(_item(group) for group in of)]
    return "[\n" + "".join(f"  {item},\n" for item in items) + "]"


def _item(group: Group) -> str:
    inside = [json.dumps(entry.path) for entry in group.entries] + [_item(each) for each in group.groups]
    return f"{{ {json.dumps(group.name)} = [{', '.join(inside)}] }}"
