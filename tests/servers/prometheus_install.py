"""Prometheus and Alertmanager from Debian, unpacked into the user's cache: nothing of the system changes, and no service starts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.servers.apt import cache_folder
from tests.servers.debian import unpacked
from tests.servers.unavailable import Unavailable

# By the program that is asked for. Their programs need the C library alone; the other packages that Debian names are for their pages.
PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
}
REMEDY = "apt-get install prometheus prometheus-alertmanager, or put their programs on the PATH"


def program(name: str) -> Path:
    """Return the path of `prometheus`, `promtool`, `prometheus-alertmanager` or `amtool`: this machine's own, or one that is brought here.

    Raises Unavailable when it cannot be had.
    """
    own = shutil.which(name)
    if own is not None:
        return Path(own)
    package = PACKAGES[name]
    return unpacked(package, [package], of="Prometheus", remedy=REMEDY) / "usr/bin" / name


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
