"""Prometheus and Alertmanager from Debian, unpacked into the user's cache: nothing of the system changes, and no service starts."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers.apt import cache_folder
from tests.servers.unavailable import Unavailable

# By the program that is asked for. Their programs need the C library alone; the other packages that Debian names are for their pages.
PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
}
REMEDY = "apt-get install prometheus prometheus-alertmanager, or put their programs on the PATH"
# 20 MB, and at first the lists of what there is; a dead mirror must not stop a run for ever.
APT_TIMEOUT = 300


def program(name: str) -> Path:
    """Return the path of `prometheus`, `promtool`, `prometheus-alertmanager` or `amtool`: this machine's own, or one that is brought here.

    Raises Unavailable when it cannot be had.
    """
    own = shutil.which(name)
    return Path(own) if own is not None else _unpacked(PACKAGES[name]) / "usr/bin" / name


def alertmanager() -> list[str]:
    """Return the command that starts Alertmanager; arguments go behind it. Raises Unavailable.

    Debian's reads its templates from /usr/share, wherever the program is. So an unpacked one sees its own folder there, in a mount
    namespace of the process itself, which is gone with it.
    """
    path = program("prometheus-alertmanager")
    if path.is_relative_to(cache_folder()):
        namespace = ["unshare", "--mount", "--propagation", "private", *([] if os.geteuid() == 0 else ["--map-root-user"])]
        inside = [*namespace, "--", "sh", "-c", 'mount --bind "$0" /usr/share && exec "$@"', str(path.parents[1] / "share")]
        tried = subprocess.run([*inside, "true"], capture_output=True, text=True, check=False)
        if tried.returncode != 0:
            raise Unavailable("Prometheus", f"an unpacked Alertmanager needs a mount namespace: {tried.stderr.strip()[-200:]}", REMEDY)
        return [*inside, str(path)]
    return [str(path)]


def _unpacked(package: str) -> Path:
    folder = cache_folder() / f"debian-{package}"
    if folder.exists():
        return folder
    missing = [command for command in ("apt-get", "dpkg-deb") if shutil.which(command) is None]
    if missing:
        raise Unavailable("Prometheus", f"{package} is not installed, and there is no {' and no '.join(missing)} to bring it", REMEDY)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        # Two runs at once: the second waits for the first, and then finds the folder.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _bring(package, folder)
    return folder


def _bring(package: str, folder: Path) -> None:
    print(f"tests: bringing Debian's {package} into {folder}", file=sys.stderr, flush=True)
    # In a folder beside it, renamed when complete: a run that is killed here leaves no half of it under the final name.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unfinished-") as unfinished:
        aside = Path(unfinished)
        (aside / "lists/partial").mkdir(parents=True)
        _run(["apt-get", *_lists_in(aside), "update", "-q"], package, aside)
        _run(["apt-get", *_lists_in(aside), "download", "-q", package], package, aside)
        _run(["dpkg-deb", "-x", str(next(aside.glob("*.deb"))), str(aside / "unpacked")], package, aside)
        (aside / "unpacked").rename(folder)


def _lists_in(folder: Path) -> list[str]:
    # Lists of our own: the system's may be old, or missing as in a fresh container, and only root may renew them.
    options = {"Dir::State::lists": folder / "lists", "Dir::Cache::pkgcache": "", "Dir::Cache::srcpkgcache": "", "APT::Sandbox::User": ""}
    return [part for name, value in options.items() for part in ("-o", f"{name}={value}")]


def _run(command: list[str], package: str, folder: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=APT_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise Unavailable("Prometheus", f"{command[0]} was not done with {package} within {APT_TIMEOUT} s", REMEDY) from None
    if done.returncode != 0:
        raise Unavailable("Prometheus", f"{command[0]} could not bring {package}: {done.stderr.strip()[-300:]}", REMEDY)
