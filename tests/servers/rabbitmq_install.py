"""RabbitMQ from Debian: the package of this machine's release, or that of another release in a folder of the user's cache."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.servers.apt import apt_get, cache_folder
from tests.servers.debian import mirror
from tests.servers.unavailable import Unavailable

PACKAGE = "rabbitmq-server"
BIN = Path("/usr/lib/rabbitmq/bin")
# The Debian release that has this version. What a nack counts and where it goes is another thing in each of them.
RELEASES: Mapping[str, str] = {"3.10": "bookworm", "4.0": "trixie", "4.3": "forky"}
REMEDY = (
    "HOLDGATE_TEST_INSTALL=1 make test installs it by apt-get, HOLDGATE_TEST_RABBITMQ=amqp://guest:guest@host:5672/ make test takes yours"
)
# 370 MB; 38 s was seen on a quiet machine.
DEBOOTSTRAP_TIMEOUT = 900


@dataclass(frozen=True, slots=True)
class Installation:
    """Where a RabbitMQ is: `root` None is this machine's own, else a folder that it runs in by chroot."""

    version: str
    root: Path | None

    def command(self, program: Sequence[str], data: Path) -> list[str]:
        """Return the command that runs `program` so that it sees the folder `data` under `seen(data)`."""
        if self.root is None:
            return list(program)
        # Mounts in a namespace of the process itself: they are gone with it, however it ends, and the folder can be removed.
        script = 'mount -t proc proc "$0/proc" && mount --bind "$1" "$0/srv" && root=$0 && shift && exec chroot "$root" "$@"'
        return ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", script, str(self.root), str(data), *program]

    def seen(self, data: Path) -> str:
        """Return the path under which the programs see `data`."""
        return str(data) if self.root is None else "/srv"


def install(version: str | None = None) -> Installation:
    """Find RabbitMQ `version` ("3.10"), after bringing here what is missing and may be brought; None: the one of this machine's release.

    Raises Unavailable when it cannot be had.
    """
    native = native_version()
    if native is None and version in (None, _of_this_release()):
        apt_get("RabbitMQ", [PACKAGE], REMEDY, is_here=lambda: native_version() is not None)
        native = native_version()
    if native is not None and version in (None, native):
        return Installation(native, None)
    if version not in RELEASES:
        raise Unavailable("RabbitMQ", f"version {version} is none of {', '.join(RELEASES)}", "name one of these")
    return Installation(version, _folder(RELEASES[version]))


def native_version() -> str | None:
    """The version that is installed on this machine ("3.10"), or None."""
    found = next(BIN.parent.glob("lib/rabbitmq_server-*"), None)
    match = None if found is None else re.search(r"-(\d+\.\d+)", found.name)
    return None if match is None else match[1]


def _of_this_release() -> str | None:
    """The version that this machine's package would be, where that is known."""
    text = Path("/etc/os-release").read_text() if Path("/etc/os-release").exists() else ""
    return next((version for version, release in RELEASES.items() if f"VERSION_CODENAME={release}" in text), None)


def _folder(release: str) -> Path:
    folder = cache_folder() / f"rabbitmq-{release}"
    if os.geteuid() != 0:
        raise Unavailable(
            "RabbitMQ", f"Debian {release} in a folder needs root for its chroot", "run as root, or take the machine's own version"
        )
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"rabbitmq-{release}.lock").open("w") as lock:
        # Two runs at once: the second waits for the first, and then finds the folder.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _debootstrap(release, folder)
    return folder


def _debootstrap(release: str, folder: Path) -> None:
    if shutil.which("debootstrap") is None:
        apt_get("RabbitMQ", ["debootstrap"], REMEDY, is_here=lambda: shutil.which("debootstrap") is not None)
    print(f"tests: bringing Debian {release} with {PACKAGE} into {folder}", file=sys.stderr, flush=True)
    unfinished = folder.with_name(f"unfinished-{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    scripts = Path("/usr/share/debootstrap/scripts")
    # A debootstrap that is older than the release has no script for it; it would be a link to this one.
    script = scripts / (release if (scripts / release).exists() else "sid")
    # It mounts /proc in there: in a namespace of its own that is gone with it, however it ends, and the folder can be removed.
    command = ["unshare", "--mount", "--propagation", "private", "--"]
    command += ["debootstrap", "--variant=minbase", f"--include={PACKAGE}", release, str(unfinished), mirror(), str(script)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEBOOTSTRAP_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise Unavailable("RabbitMQ", f"debootstrap was not done within {DEBOOTSTRAP_TIMEOUT} s", REMEDY) from None
    if done.returncode != 0:
        raise Unavailable("RabbitMQ", f"debootstrap {release} failed: {(done.stdout + done.stderr).strip()[-300:]}", REMEDY)
    (unfinished / "etc/hosts").write_text("127.0.0.1 localhost\n")
    # Renamed when complete: a run that is killed before leaves no half of it under the final name.
    unfinished.rename(folder)
