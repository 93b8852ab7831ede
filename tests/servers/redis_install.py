"""Redis and Valkey: this machine's own, or those of a newer Debian, unpacked into the user's cache. Nothing of the system changes."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers.apt import cache_folder
from tests.servers.rabbitmq_install import debian_mirror
from tests.servers.unavailable import Unavailable

NAMES = {"redis": "Redis", "valkey": "Valkey"}
# The oldest Debian that has both. Its programs run with its own C library beside them, whatever this machine's is.
RELEASE = "trixie"
PACKAGES = ["redis-server", "redis-tools", "valkey-server", "valkey-tools"]
LIBRARIES = [
    "libatomic1",
    "libc6",
    "libcap2",
    "libgcc-s1",
    "libjemalloc2",
    "liblzf1",
    "libssl3t64",
    "libstdc++6",
    "libsystemd0",
    "libzstd1",
]
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# 12 MB, and at first the list of what there is; a dead mirror must not stop a run for ever.
APT_TIMEOUT = 300


def command(server: str) -> list[str]:
    """Return the command that starts "redis" or "valkey"; arguments go behind it. Raises Unavailable when it cannot be had."""
    own = shutil.which(f"{server}-server")
    if own is not None:
        return [own]
    folder = _unpacked(server)
    loader = next(folder.glob("usr/lib*/ld-linux*"))
    libraries = next(folder.glob("usr/lib/*-linux-gnu*"))
    return [str(loader), "--library-path", str(libraries), str(folder / "usr/bin" / f"{server}-server")]


def _unpacked(server: str) -> Path:
    folder = cache_folder() / f"debian-{RELEASE}-redis"
    if folder.exists():
        return folder
    missing = [program for program in ("apt-get", "dpkg-deb") if shutil.which(program) is None]
    if missing:
        raise Unavailable(NAMES[server], f"not installed, and there is no {' and no '.join(missing)} to bring it", _remedy(server))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        # Two runs at once: the second waits for the first, and then finds the folder.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _bring(server, folder)
    return folder


def _bring(server: str, folder: Path) -> None:
    print(f"tests: bringing Redis and Valkey of Debian {RELEASE} into {folder}", file=sys.stderr, flush=True)
    # In a folder beside it, renamed when complete: a run that is killed here leaves no half of it under the final name.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unfinished-") as unfinished:
        aside = Path(unfinished)
        (aside / "lists/partial").mkdir(parents=True)
        (aside / "sources.list").write_text(f"deb [signed-by={KEYS}] {debian_mirror()} {RELEASE} main\n")
        apt = ["apt-get", "-q", *_lists_in(aside)]
        _run([*apt, "update"], server, aside)
        _run([*apt, "download", *PACKAGES, *LIBRARIES], server, aside)
        for package in sorted(aside.glob("*.deb")):
            _run(["dpkg-deb", "-x", str(package), str(aside / "unpacked")], server, aside)
        (aside / "unpacked").rename(folder)


def _lists_in(folder: Path) -> list[str]:
    # Lists of our own: the system's are of another release, and only root may renew them.
    options = {
        "Dir::State::lists": folder / "lists",
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "APT::Sandbox::User": "",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        "Acquire::Languages": "none",
    }
    return [part for name, value in options.items() for part in ("-o", f"{name}={value}")]


def _run(program: list[str], server: str, folder: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=APT_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise Unavailable(NAMES[server], f"{program[0]} was not done within {APT_TIMEOUT} s", _remedy(server)) from None
    if done.returncode != 0:
        raise Unavailable(NAMES[server], f"{program[0]} could not bring it: {done.stderr.strip()[-300:]}", _remedy(server))


def _remedy(server: str) -> str:
    return f"put {server}-server on the PATH, on Debian and Ubuntu by apt-get install {server}-server"
