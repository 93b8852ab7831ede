"""Redis and Valkey: this machine's own, or those of a newer Debian, unpacked into the user's cache. Nothing of the system changes."""

from __future__ import annotations

import shutil

from tests.servers.debian import unpacked

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


def command(server: str) -> list[str]:
    """Return the command that starts "redis" or "valkey"; arguments go behind it. Raises Unavailable when it cannot be had."""
    own = shutil.which(f"{server}-server")
    if own is not None:
        return [own]
    remedy = f"put {server}-server on the PATH, on Debian and Ubuntu by apt-get install {server}-server"
    folder = unpacked(f"{RELEASE}-redis", [*PACKAGES, *LIBRARIES], of=NAMES[server], remedy=remedy, release=RELEASE)
    loader = next(folder.glob("usr/lib*/ld-linux*"))
    libraries = next(folder.glob("usr/lib/*-linux-gnu*"))
    return [str(loader), "--library-path", str(libraries), str(folder / "usr/bin" / f"{server}-server")]
