"""Ports that stay ours: while a broker is down for a restart, nobody else may take its port."""

from __future__ import annotations

import fcntl
import getpass
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

# Below the ranges from which Linux (32768) and macOS (49152) give out the ports of clients: a port of a stopped broker is not taken
# by somebody's outgoing connection.
LOWEST, HIGHEST = 20_000, 30_000

# The locks end with this process, however it ends. Two runs at once see each other's.
_reserved: dict[int, IO[str]] = {}


def reserve_port() -> int:
    """Return a port on 127.0.0.1 that nothing listens on, and that no other run of these tests takes before this process ends."""
    folder = Path(tempfile.gettempdir()) / f"holdgate-ports-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    for port in random.sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST):
        if port not in _reserved and _lock(folder, port):
            return port
    message = f"no free port between {LOWEST} and {HIGHEST}"
    raise OSError(message)


def release_port(port: int) -> None:
    """Give the port back to other runs."""
    _reserved.pop(port).close()


def _lock(folder: Path, port: int) -> bool:
    file = (folder / str(port)).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    if not _is_free(port):
        file.close()
        return False
    _reserved[port] = file
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
