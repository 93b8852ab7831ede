"""Writes the generated parts anew, in place, and names the pages that changed."""

from __future__ import annotations

import sys

from docs.generate.pages import ROOT, pages, render

for page in pages():
    before = page.read_text()
    after = render(before)
    if after != before:
        page.write_text(after)
        sys.stdout.write(f"{page.relative_to(ROOT)}\n")
