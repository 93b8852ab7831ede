from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.conftest import program
from tests.servers.debian import unpacked
from tests.servers.unavailable import Unavailable

REMEDY = "apt-get install something"


def test_a_machine_that_is_no_debian_is_told_what_would_help(bare_machine) -> None:
    """One line, with the reason and the remedy, for all the tests that are skipped."""
    with pytest.raises(Unavailable, match="no Something: not installed, and there is no apt-get and no dpkg-deb to bring it") as raised:
        unpacked("something", ["something"], of="Something", remedy=REMEDY)
    assert REMEDY in str(raised.value)


def test_a_mirror_that_does_not_answer_leaves_nothing_half_done(bare_machine, tmp_path) -> None:
    """The next run tries again, and the reason is what apt-get says."""
    program(bare_machine / "apt-get", "echo no route to the mirror >&2; exit 100")
    program(bare_machine / "dpkg-deb", "exit 0")
    with pytest.raises(Unavailable, match="no Something: apt-get could not bring it: no route to the mirror"):
        unpacked("something", ["something"], of="Something", remedy=REMEDY)
    assert [path.name for path in (tmp_path / "cache" / "holdgate").iterdir()] == ["debian-something.lock"]


@pytest.mark.parametrize("release", [None, "trixie"])
def test_packages_are_unpacked_into_the_cache_once(bare_machine, tmp_path, release) -> None:
    """With lists of its own, so that neither root nor a system's old lists matter; a second look finds the folder."""
    said = tmp_path / "said"
    program(bare_machine / "apt-get", f'echo "$@" >> {said}; : > package.deb')
    program(bare_machine / "dpkg-deb", '/bin/mkdir -p "$3/usr/bin"')
    folder = tmp_path / "cache" / "holdgate" / "debian-something"
    finished = list[tuple[Path, bool]]()
    for _ in range(2):
        found = unpacked(
            "something",
            ["something", "libsomething"],
            of="Something",
            remedy=REMEDY,
            release=release,
            finish=lambda where, later: finished.append((later, (where / "usr/bin").is_dir() and not later.exists())),
        )
        assert found == folder
        assert (folder / "usr/bin").is_dir()
    assert finished == [(folder, True)]
    updated, downloaded = said.read_text().splitlines()
    assert "Dir::State::lists=" in updated
    assert ("Dir::Etc::sourceparts=-" in updated) == (release is not None)
    assert updated.endswith("update -q")
    assert downloaded.endswith("download -q something libsomething")
