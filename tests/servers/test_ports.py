from __future__ import annotations

import socket
import subprocess
import sys

from tests.servers.ports import HIGHEST, LOWEST, release_port, reserve_port


def test_a_reserved_port_is_free_to_listen_on() -> None:
    """What it returns can be listened on at once, and lies below the range of client ports."""
    port = reserve_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
    release_port(port)
    assert LOWEST <= port < HIGHEST


def test_two_runs_get_different_ports(monkeypatch) -> None:
    """Another process passes over a port that is reserved here, though nothing listens on it."""
    port = reserve_port()
    code = f"import tests.servers.ports as p; p.LOWEST, p.HIGHEST = {port}, {port + 1}; p.reserve_port()"
    while_ours = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    release_port(port)
    afterwards = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "no free port" in while_ours.stderr
    assert afterwards.returncode == 0, afterwards.stderr
