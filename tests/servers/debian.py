"""Debian packages that are unpacked into the user's cache: nothing of the system changes, and nobody need be root."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.apt import cache_folder
from tests.servers.unavailable import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# 20 MB, and at first the lists of what there is; a dead mirror must not stop a run for ever.
APT_TIMEOUT = 300


def mirror() -> str:
    """The mirror that apt uses already."""
    texts = [
        path.read_text()
        for path in [*Path("/etc/apt/sources.list.d").glob("debian*.sources"), Path("/etc/apt/sources.list")]
        if path.exists()
    ]
    found = re.search(r"^(?:URIs:|deb(?: \[[^\]]*\])?) (https?://\S+/debian)/?(?:\s|$)", "\n".join(texts), re.MULTILINE)
    return "http://deb.debian.org/debian" if found is None else found[1]


def unpacked(
    name: str,
    packages: Sequence[str],
    *,
    of: str,
    remedy: str,
    release: str | None = None,
    finish: Callable[[Path, Path], None] | None = None,
) -> Path:
    """Return the folder `debian-NAME` of the cache with these packages in it, after bringing them where it is not there yet.

    `of` is what they are for, in words, and `remedy` what else would help: both go into Unavailable, which says why it cannot be had.
    `release` names another Debian than this machine's; its programs need their own C library beside them, so name that package too.
    `finish` gets the folder as it is unpacked and the path that it will have, and changes what is not yet right in it.
    """
    folder = cache_folder() / f"debian-{name}"
    if folder.exists():
        return folder
    missing = [program for program in ("apt-get", "dpkg-deb") if shutil.which(program) is None]
    if missing:
        raise Unavailable(of, f"not installed, and there is no {' and no '.join(missing)} to bring it", remedy)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        # Two runs at once: the second waits for the first, and then finds the folder.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            print(f"tests: bringing {of} of Debian{f' {release}' if release else ''} into {folder}", file=sys.stderr, flush=True)
            # In a folder beside it, renamed when complete: a run that is killed here leaves no half of it under the final name.
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unfinished-") as unfinished:
                try:
                    _bring(packages, release, Path(unfinished))
                except _Failed as error:
                    raise Unavailable(of, str(error), remedy) from None
                if finish is not None:
                    finish(Path(unfinished) / "unpacked", folder)
                (Path(unfinished) / "unpacked").rename(folder)
    return folder


class _Failed(Exception):
    """A program that brings packages did not."""


def _bring(packages: Sequence[str], release: str | None, aside: Path) -> None:
    (aside / "lists/partial").mkdir(parents=True)
    # Lists of our own: the system's may be old, or missing as in a fresh container, and only root may renew them.
    options = {"Dir::State::lists": aside / "lists", "Dir::Cache::pkgcache": "", "Dir::Cache::srcpkgcache": "", "APT::Sandbox::User": ""}
    if release is not None:
        (aside / "sources.list").write_text(f"deb [signed-by={KEYS}] {mirror()} {release} main\n")
        options |= {"Dir::Etc::sourcelist": aside / "sources.list", "Dir::Etc::sourceparts": "-", "Acquire::Languages": "none"}
        options |= {"Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false"}
    apt = ["apt-get", *[part for name, value in options.items() for part in ("-o", f"{name}={value}")]]
    _run([*apt, "update", "-q"], aside)
    _run([*apt, "download", "-q", *packages], aside)
    for package in sorted(aside.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(aside / "unpacked")], aside)


def _run(program: Sequence[str], folder: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=APT_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise _Failed(f"{program[0]} was not done within {APT_TIMEOUT} s") from None
    if done.returncode != 0:
        raise _Failed(f"{program[0]} could not bring it: {done.stderr.strip()[-300:]}")
