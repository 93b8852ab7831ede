"""Debian packages that the tests' servers need, installed by apt-get one after the other.

apt-get refuses to run beside another one, and the processes of one test run start their servers in parallel. So a process that wants a
package waits for one that installs, and then looks again: often the other has brought it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.unavailable import Unavailable, may_install

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# For how long apt-get waits for an installation that is none of ours, as that of a machine that has just started.
FOREIGN_LOCK_SECONDS = 300


def cache_folder() -> Path:
    """Where slow installs are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdgate"


def apt_get(server: str, packages: Sequence[str], remedy: str, *, is_here: Callable[[], bool]) -> None:
    """Install what a server needs, if that may be done and `is_here` still says False. Raises Unavailable, with the remedy, if not."""
    names = " ".join(packages)
    if not may_install():
        raise Unavailable(server, f"not installed: {names}", remedy)
    if shutil.which("apt-get") is None:
        raise Unavailable(server, f"not installed: {names}, and there is no apt-get", remedy)
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "apt-get.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_here():
            _install(server, packages, remedy)


def _install(server: str, packages: Sequence[str], remedy: str) -> None:
    print(f"tests: {' '.join(packages)} missing; installing by apt-get", file=sys.stderr, flush=True)
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    waiting = ["-o", f"DPkg::Lock::Timeout={FOREIGN_LOCK_SECONDS}"]
    for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
        command = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *waiting, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unavailable(server, f"apt-get {' '.join(arguments)} failed: {done.stderr.strip()[-300:]}", remedy)
