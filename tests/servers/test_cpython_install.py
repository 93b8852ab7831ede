from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.servers import cpython_install
from tests.servers.unavailable import Unavailable

PYTHON_CI = Path(__file__).parents[2] / ".ci/python"
SERIES = "3.14"
BUILD = "{'WHEEL_PKG_DIR': '/usr/share/python-wheels/', 'prefix': '/usr'}\n"


@pytest.fixture
def machine(monkeypatch, tmp_path) -> Path:
    """A machine whose apt-get brings one package, with a program that says by which loader, libraries and name it was called."""
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "apt-get").write_text("#!/bin/sh\n: > package.deb\n")
    libraries, built = "usr/lib/some-linux-gnu", f"usr/lib/python{SERIES}/_sysconfigdata__some.py"
    (commands / "dpkg-deb").write_text(
        f"""#!/bin/sh
mkdir -p "$3/usr/bin" "$3/{libraries}" "$3/usr/lib64" "$3/usr/lib/python{SERIES}"
echo not for this loader > "$3/usr/bin/python{SERIES}"
printf '#!/bin/sh\\necho "$@"\\n' > "$3/{libraries}/ld-linux-some.so.2"
chmod +x "$3/{libraries}/ld-linux-some.so.2"
ln -s "../lib/some-linux-gnu/ld-linux-some.so.2" "$3/usr/lib64/ld-linux-some.so.2"
printf "%s" "{BUILD}" > "$3/{built}"
"""
    )
    for command in commands.iterdir():
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_it_runs_with_its_own_c_library_and_under_the_name_it_was_called_by(machine) -> None:
    """An environment's `python` is a link to it, and has to see itself as that environment's."""
    path = cpython_install.interpreter(SERIES)
    folder = machine / "cache/holdgate" / f"debian-{cpython_install.RELEASES[SERIES]}-python{SERIES}"
    assert path == folder / f"usr/bin/python{SERIES}"
    environment = machine / "environment-python"
    environment.symlink_to(path)
    called = subprocess.run([environment, "-c", "print('two words')"], capture_output=True, text=True, check=True).stdout
    program = folder / f"usr/lib/program-of-python{SERIES}"
    assert called.split(" ", 5) == [
        *["--library-path", str(folder / "usr/lib/some-linux-gnu"), "--argv0", str(environment), str(program)],
        "-c print('two words')\n",
    ]
    assert program.read_text() == "not for this loader\n"


def test_pip_is_looked_for_beside_it(machine) -> None:
    """The wheel of the system, where there is one, is for another Python."""
    folder = cpython_install.interpreter(SERIES).parents[2]
    (build,) = folder.glob("usr/lib/*/_sysconfigdata_*.py")
    assert build.read_text() == BUILD.replace("'/usr/share", f"'{folder}/usr/share")


def test_a_series_that_is_not_brought_is_refused() -> None:
    """The reason names the ones that are, and what to do for this one."""
    with pytest.raises(Unavailable) as raised:
        cpython_install.interpreter("3.2")
    assert str(raised.value) == "no CPython 3.2: of Debian only 3.14 is brought here; install python3.2"


def test_the_makefile_finds_it_in_the_cache(monkeypatch, tmp_path) -> None:
    """Where neither the PATH nor a version manager has one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    folder = tmp_path / "holdgate/debian-some-python3.99/usr/bin"
    folder.mkdir(parents=True)
    # It is asked what it is, and only its exit code counts.
    (folder / "python3.99").write_text("#!/bin/sh\nexit 0\n")
    (folder / "python3.99").chmod(0o755)
    found = subprocess.run([PYTHON_CI, "3.99"], capture_output=True, text=True, check=False)
    assert found.stdout.strip() == str(folder / "python3.99")
    (folder / "python3.99").write_text("#!/bin/sh\nexit 1\n")
    assert subprocess.run([PYTHON_CI, "3.99"], capture_output=True, text=True, check=False).returncode == 1
