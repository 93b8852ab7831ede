from __future__ import annotations

import pytest

from tests.servers import prometheus_install
from tests.servers.conftest import program
from tests.servers.unavailable import Unavailable


def test_a_machine_that_is_no_debian_is_told_what_would_help(bare_machine) -> None:
    """One line, with the reason and the remedy, for all the tests that are skipped."""
    with pytest.raises(Unavailable, match="no Prometheus: not installed, and there is no apt-get and no dpkg-deb") as raised:
        prometheus_install.program("promtool")
    assert "apt-get install prometheus" in str(raised.value)


def test_the_machines_own_program_is_taken(bare_machine) -> None:
    """Whoever has a Prometheus already brings nothing, and starts Alertmanager as it is."""
    for name in ("promtool", "prometheus-alertmanager"):
        program(bare_machine / name, "exit 0")
    assert prometheus_install.program("promtool") == bare_machine / "promtool"
    assert prometheus_install.alertmanager() == [str(bare_machine / "prometheus-alertmanager")]


def test_a_package_is_unpacked_into_the_cache_once(bare_machine, tmp_path) -> None:
    """With lists of its own, so that neither root nor a system's old lists matter; a second look finds the folder."""
    said = tmp_path / "said"
    program(bare_machine / "apt-get", f'echo "$@" >> {said}; : > package.deb')
    program(bare_machine / "dpkg-deb", '/bin/mkdir -p "$3/usr/bin"')
    for _ in range(2):
        found = prometheus_install.program("amtool")
        assert found == tmp_path / "cache" / "holdgate" / "debian-prometheus-alertmanager" / "usr" / "bin" / "amtool"
    updated, downloaded = said.read_text().splitlines()
    assert "Dir::State::lists=" in updated
    assert updated.endswith("update -q")
    assert downloaded.endswith("download -q prometheus-alertmanager")
