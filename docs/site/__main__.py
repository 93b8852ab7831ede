"""Builds the site of the documentation into build/site, without a network, and checks it. `make docs` runs it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from docs.site.build import build
from docs.site.checks import faults
from docs.site.staged import ROOT

_parser = argparse.ArgumentParser(prog="python -m docs.site", description=__doc__)
_parser.add_argument("--into", type=Path, default=ROOT / "build", help="the folder; what is in it is replaced")
_parser.add_argument("--url", default="", help="the address that the site will have; without it links hold wherever it lies")
_parser.add_argument("--source", help="the address of files of this repository on a forge, for links to code; without it they are named")
_given = _parser.parse_args()
try:
    _site = build(_given.into, url=_given.url, source=_given.source)
except RuntimeError as error:
    sys.exit(str(error))
_faults = faults(_site, _given.url)
if _faults:
    sys.exit("\n".join([*_faults, f"{len(_faults)} faults in {_site}"]))
sys.stdout.write(f"{len(list(_site.rglob('*.html')))} pages, no dead link; with its search: {sys.executable} -m http.server -d {_site}\n")
