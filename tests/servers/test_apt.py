"""What a server's tests need is installed by one process at a time, and announced before."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.servers.apt import apt_get
from tests.servers.unavailable import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

# An apt-get that refuses to run beside another one, as the real one does, and needs a while.
APT_GET = """#!/bin/sh
mkdir {place}/running || { echo "Could not get lock" >&2; exit 100; }
echo "$@" >>{place}/calls
sleep 0.3
touch {place}/installed
rmdir {place}/running
"""
INSTALLING = """
import sys
from pathlib import Path
from tests.servers.apt import apt_get
apt_get("Anything", ["its-package"], "do it", is_here=(Path(sys.argv[1]) / "installed").exists)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an apt-get, first on the path of a user who may install."""
    program = tmp_path / "apt-get"
    program.write_text(APT_GET.replace("{place}", str(tmp_path)))
    program.chmod(0o755)
    if os.geteuid() != 0:
        (tmp_path / "sudo").write_text('#!/bin/sh\nshift\nexec "$@"\n')
        (tmp_path / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOLDGATE_TEST_INSTALL", "1")
    return tmp_path


def test_processes_that_need_the_same_package_install_it_once(place: Path) -> None:
    """The others wait for the first, and find it there."""
    processes = [subprocess.Popen([sys.executable, "-c", INSTALLING, str(place)], stderr=subprocess.PIPE) for _ in range(4)]
    said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sum(b"its-package missing; installing by apt-get" in words for words in said) == 1
    calls = (place / "calls").read_text().splitlines()
    assert [call.split()[2] for call in calls] == ["update", "install"]


def test_a_failure_of_apt_get_is_told(place: Path) -> None:
    """With what it printed."""
    (place / "running").mkdir()
    with pytest.raises(Unavailable, match=r"(?s)apt-get update -q failed: .*Could not get lock; do it"):
        apt_get("Anything", ["its-package"], "do it", is_here=(place / "installed").exists)


def test_without_permission_nothing_is_installed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the package and the remedy."""
    for name in ("CI", "HOLDGATE_TEST_INSTALL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Unavailable, match="not installed: its-package; do it"):
        apt_get("Anything", ["its-package"], "do it", is_here=lambda: False)
    assert not (place / "calls").exists()


def test_without_apt_get_that_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on another system."""
    monkeypatch.setenv("PATH", str(place / "cache"))
    with pytest.raises(Unavailable, match="not installed: its-package, and there is no apt-get; do it"):
        apt_get("Anything", ["its-package"], "do it", is_here=lambda: False)
