from __future__ import annotations

import pytest

from tests.servers import redis_install
from tests.servers.conftest import program
from tests.servers.unavailable import Unavailable


def test_a_machine_that_is_no_debian_is_told_what_would_help(bare_machine) -> None:
    """One line for each of the two, with the reason and the remedy."""
    for server, name in redis_install.NAMES.items():
        with pytest.raises(Unavailable, match=f"no {name}: not installed, and there is no apt-get and no dpkg-deb") as raised:
            redis_install.command(server)
        assert f"apt-get install {server}-server" in str(raised.value)


def test_the_machines_own_program_is_taken(bare_machine) -> None:
    """Whoever has one already brings nothing."""
    program(bare_machine / "valkey-server", "exit 0")
    assert redis_install.command("valkey") == [str(bare_machine / "valkey-server")]


def test_both_are_unpacked_into_the_cache_once(bare_machine, tmp_path) -> None:
    """Redis and Valkey come together, with the C library that they run with; a second look finds the folder."""
    said = tmp_path / "said"
    program(bare_machine / "apt-get", f'echo "$@" >> {said}; : > package.deb')
    unpack = '/bin/mkdir -p "$3/usr/bin" "$3/usr/lib64" "$3/usr/lib/some-linux-gnu"; : > "$3/usr/lib64/ld-linux-some.so.2"'
    program(bare_machine / "dpkg-deb", unpack)
    folder = tmp_path / "cache" / "holdgate" / f"debian-{redis_install.RELEASE}-redis" / "usr"
    for server in ("redis", "valkey"):
        begins = [str(folder / "lib64" / "ld-linux-some.so.2"), "--library-path", str(folder / "lib" / "some-linux-gnu")]
        assert redis_install.command(server) == [*begins, str(folder / "bin" / f"{server}-server")]
    updated, downloaded = said.read_text().splitlines()
    assert "Dir::State::lists=" in updated
    assert "redis-server" in downloaded
    assert "valkey-server" in downloaded
