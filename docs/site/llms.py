"""The pages for a program that reads text: `llms.txt`, a list with a line on each page (llmstxt.org), and `llms-full.txt`, all of them.

Both are made of the staged Markdown, which lies on the site beside the pages themselves.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from docs.site.navigation import Entry, Group

NAME = "holdgate"
# Long tables that are of use to somebody who looks for one row: they are in the list, and not in the whole.
LEFT_OUT = ("changelog.md", "reference/mutation.md", "reference/fault-matrix.md", "reference/public-api.md")


def write(pages: Path, site: Path, groups: list[Group], summary: str, url: str = "") -> None:
    """Put both files, and the Markdown of every page, into the site. `url` is its address; "" makes links that hold on the site itself."""
    for page in sorted(pages.rglob("*.md")):
        target = site / page.relative_to(pages)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page, target)
    (site / "llms.txt").write_text(listed(groups, summary, url))
    (site / "llms-full.txt").write_text(whole(pages, groups))


def listed(groups: list[Group], summary: str, url: str = "") -> str:
    """Return `llms.txt`: the name, the summary, and the pages under their headings."""
    parts = [f"# {NAME}\n", f"> {summary}\n", "All pages in one file: " + _link("llms-full.txt", "llms-full.txt", url) + "\n"]
    for group in groups:
        parts.append(f"## {group.name}\n")
        parts.append("\n".join(f"- {_line(entry, url)}" for entry in group.all_entries()) + "\n")
    return "\n".join(parts)


def whole(pages: Path, groups: list[Group]) -> str:
    """Return `llms-full.txt`: the front page, and every page of the index but the longest tables."""
    paths = ["index.md", *(entry.path for group in groups for entry in group.all_entries())]
    return "\n\n".join((pages / path).read_text().strip() for path in dict.fromkeys(paths) if path not in LEFT_OUT) + "\n"


def _line(entry: Entry, url: str) -> str:
    link = _link(entry.name, entry.path, url)
    more = entry.text.removeprefix(entry.name).lstrip(":,; ")
    return f"{link}: {more}" if more else link


def _link(name: str, path: str, url: str) -> str:
    return f"[{name}]({url and url.rstrip('/') + '/'}{path})"
