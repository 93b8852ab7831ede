"""PostgreSQL and Redis from Debian's packages, each for one test run on a port of loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.servers.apt import apt_get
from tests.servers.ports import release_port, reserve_port
from tests.servers.unavailable import Unavailable

# A busy machine takes its time; nobody waits for all of it on a quiet one.
START_TIMEOUT = 60.0


@contextmanager
def postgres() -> Iterator[int]:
    """A PostgreSQL whose superuser is `postgres`, without a password; its port. Raises Unavailable."""
    binaries = _needed("postgres", "postgresql")
    # It refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="holdgate-postgres-") as folder:
        if user:
            shutil.chown(folder, user)
        data, port = Path(folder) / "data", reserve_port()
        initdb = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C"]
        subprocess.run(initdb, check=True, capture_output=True, user=user, cwd=folder)
        # Connections for every client of the table at the same time, in every shape and for every broker.
        settings = ["fsync=off", "max_connections=500", f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}"]
        command = [binaries / "postgres", "-D", data, *(word for setting in settings for word in ("-c", setting))]
        with _running(command, port, user=user, folder=folder):
            # It listens before it has read its data, and refuses everybody until then.
            asking = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-t", str(int(START_TIMEOUT))]
            deadline = time.monotonic() + START_TIMEOUT
            while subprocess.run(asking, check=False).returncode != 0:
                assert time.monotonic() < deadline, "PostgreSQL does not answer"
                time.sleep(0.02)
            yield port


@contextmanager
def redis(*settings: str) -> Iterator[int]:
    """A Redis with further settings of its command line; its port. Its data are in `<temp>/redis`. Raises Unavailable."""
    binaries = _needed("redis-server", "redis-server")
    with tempfile.TemporaryDirectory(prefix="holdgate-redis-") as folder:
        port = reserve_port()
        (Path(folder) / "data").mkdir()
        command = [
            binaries / "redis-server",
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--dir",
            Path(folder) / "data",
            "--save",
            "",
            *settings,
        ]
        with _running(command, port, user=None, folder=folder):
            yield port


def _needed(program: str, package: str) -> Path:
    remedy = f"HOLDGATE_TEST_INSTALL=1 make test-clients installs it as root, or: apt-get install {package}"
    if folder_of(program) is None and os.geteuid() == 0:
        apt_get(package, [package], remedy, is_here=lambda: folder_of(program) is not None)
    found = folder_of(program)
    if found is None:
        raise Unavailable(package, "not installed", remedy)
    return found


def folder_of(program: str) -> Path | None:
    """Where a program is; None where it is not."""
    # Debian keeps PostgreSQL's programs off the path.
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = next((folder for folder in folders if (folder / program).exists()), None) or shutil.which(program)
    return found if found is None or isinstance(found, Path) else Path(found).parent


@contextmanager
def _running(command: list[object], port: int, *, user: str | None, folder: str) -> Iterator[None]:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([str(word) for word in command], stdout=quiet, stderr=quiet, user=user, cwd=folder)
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not _listens(port):
            assert process.poll() is None, f"{command[0]} has ended"
            assert time.monotonic() < deadline, f"{command[0]} does not listen"
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        release_port(port)


def _listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0
