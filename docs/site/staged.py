"""Which files become pages, under which path, and what is changed in them on the way.

The pages are written for the forge: a link may lead to any file of the repository. On a site only pages and pictures exist, so a link
to a page is led to its place on the site, and a link to anything else becomes the path of the file, as code, or a link to the forge where
one was named (`--source`). Comments go: they are for those who write. A diagram for which a browser would need a script from elsewhere is
shown as text.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Pages that do not lie in docs. README is where a reader begins, so it is the front page.
OTHERS = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "tests/README.md": "explanation/tests.md",
    # The index of docs stands beside the front page.
    "docs/README.md": "contents.md",
}
PICTURES = (".png", ".svg")

_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"^<!--.*?-->\n?", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[((?:`[^`\n]*`|\[[^\]\n]*\]|[^\[\]`])*)\]\(([^)\s]+)\)")


def places() -> dict[str, str]:
    """Return for each page its path in the repository and its path on the site, which are Markdown both."""
    ours = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
    return OTHERS | {path: path.removeprefix("docs/") for path in ours if path not in OTHERS}


def pictures() -> dict[str, str]:
    """Return the same for the pictures of the pages."""
    found = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*") if path.suffix in PICTURES)
    return {path: path.removeprefix("docs/") for path in found}


def stage(into: Path, source: str | None = None) -> None:
    """Write all pages and pictures into this folder. `source` is the address that files of the repository have on a forge, to be put before
    their path; None means that there is none."""
    pages, beside = places(), pictures()
    for path, place in pages.items():
        file = into / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(staged((ROOT / path).read_text(), path, pages | beside, source))
    for path, place in beside.items():
        file = into / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((ROOT / path).read_bytes())


def staged(text: str, path: str, on_site: dict[str, str], source: str | None = None) -> str:
    """Return the page of this path as the site has it."""
    lead = _leader(path, on_site, source)
    # Every other part is a block of code, and stays as it is but for the language of a diagram.
    parts = _FENCED.split(text)
    for number, part in enumerate(parts):
        if number % 2:
            parts[number] = part.replace("```mermaid", "```text", 1)
        else:
            parts[number] = _LINK.sub(lead, _COMMENT.sub("\n", part))
    return "".join(parts)


def _leader(path: str, on_site: dict[str, str], source: str | None) -> Callable[[re.Match[str]], str]:
    here = posixpath.dirname(on_site[path])

    def lead(link: re.Match[str]) -> str:
        picture, text, target = link.groups()
        if "://" in target or target.startswith(("#", "mailto:")):
            return link.group()
        file, _, anchor = target.partition("#")
        file = posixpath.normpath(posixpath.join(posixpath.dirname(path), file))
        if file in on_site:
            return f"{picture}[{text}]({posixpath.relpath(on_site[file], here or '.')}{anchor and '#' + anchor})"
        if source is not None:
            return f"[{text}]({source.rstrip('/')}/{file})"
        return _named(text, file)

    return lead


def _named(text: str, file: str) -> str:
    """Name a file that is no page: once, where the text is the end of its path."""
    bare = text.replace("`", "").rstrip("/")
    return f"`{file}`" if file.endswith(bare) else f"{text} (`{file}`)"
