"""Code in Markdown: regions of files that a test runs."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from textwrap import dedent

_ROOT = Path(__file__).parents[2]
_MARK = re.compile(r" *# (region .+|endregion)\n")


def snippet(path: str, *regions: str) -> str:
    """These regions of a Python file one after the other, or the whole file, as a fenced block."""
    text = (_ROOT / path).read_text()
    code = "\n".join(region(text, name) for name in regions) if regions else _MARK.sub("", text)
    return f"```python\n{code.rstrip()}\n```"


def toml(path: str) -> str:
    """A whole TOML file, as a fenced block."""
    return f"```toml\n{(_ROOT / path).read_text().rstrip()}\n```"


def region(text: str, name: str) -> str:
    """What stands between `# region NAME` and the next `# endregion`, without its indentation. Raises ValueError for none, or several."""
    found = re.findall(rf"^ *# region {re.escape(name)}\n(.*?)^ *# endregion$", text, re.DOTALL | re.MULTILINE)
    if len(found) != 1:
        raise ValueError(f"there are {len(found)} regions named {name!r}")
    return dedent(found[0]).strip("\n") + "\n"


def diff(before: str, after: str, name: str) -> str:
    """What changes in one region from one file to the other, as a fenced block; `...` for what stays in between."""
    old, new = (region((_ROOT / path).read_text(), name).splitlines() for path in (before, after))
    lines = list(difflib.unified_diff(old, new, lineterm="", n=1))[3:]  # without the file names and the first position
    return "```diff\n" + "\n".join("..." if line.startswith("@@") else line.rstrip() for line in lines) + "\n```"
