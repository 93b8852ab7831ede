"""A CPython that this machine has not: Debian's, unpacked into the user's cache, with the C library that it was built for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.servers.debian import unpacked
from tests.servers.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# The Debian release that has this series.
RELEASES: Mapping[str, str] = {"3.14": "forky"}
LIBRARIES = [
    "libbz2-1.0",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    "libncursesw6",
    "libreadline8t64",
    "libsqlite3-0",
    "libssl3t64",
    "libstdc++6",
    "libtinfo6",
    "libuuid1",
    "libzstd1",
    "zlib1g",
]
# Debian keeps pip's wheel apart; `python -m venv` looks for it where the build said.
WHEELS = "/usr/share/python-wheels"


def interpreter(series: str) -> Path:
    """Return the path of a CPython of this series ("3.14"), which can make virtual environments. Raises Unavailable."""
    if series not in RELEASES:
        raise Unavailable(f"CPython {series}", f"of Debian only {', '.join(RELEASES)} is brought here", f"install python{series}")
    names = ("python{}", "python{}-minimal", "python{}-venv", "libpython{}-minimal", "libpython{}-stdlib")
    remedy = f"install it, on Debian and Ubuntu by apt-get install python{series} python{series}-venv"
    folder = unpacked(
        f"{RELEASES[series]}-python{series}",
        [*(name.format(series) for name in names), "python3-pip-whl", *LIBRARIES],
        of=f"CPython {series}",
        remedy=remedy,
        release=RELEASES[series],
        finish=lambda where, folder: _at_home(where, folder, series),
    )
    return folder / "usr/bin" / f"python{series}"


def _at_home(where: Path, folder: Path, series: str) -> None:
    # The program names the loader of the system, whose C library may be older. A script in its place calls the one beside it, under the
    # name by which the script itself was called: so an environment's link to it is that environment's Python.
    program = where / "usr/bin" / f"python{series}"
    moved = where / "usr/lib" / f"program-of-python{series}"
    program.rename(moved)
    loader = next(where.glob("usr/lib*/ld-linux*")).relative_to(where)
    libraries = next(where.glob("usr/lib/*-linux-gnu*")).relative_to(where)
    command = f'"{folder / loader}" --library-path "{folder / libraries}" --argv0 "$0" "{folder / moved.relative_to(where)}"'
    program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    program.chmod(0o755)
    for build in where.glob(f"usr/lib/python{series}/_sysconfigdata_*.py"):
        build.write_text(build.read_text().replace(f"'{WHEELS}", f"'{folder}{WHEELS}"))
