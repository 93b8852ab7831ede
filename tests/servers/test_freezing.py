"""What is frozen has stopped when the next line runs."""

from __future__ import annotations

import signal
import subprocess
import threading
from pathlib import Path

from tests.servers.freezing import wait_until_frozen


def test_it_waits_for_a_signal_that_takes_effect_late() -> None:
    """As on a busy machine; and again after the process has gone on."""
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            for _ in range(2):
                late = threading.Timer(0.1, child.send_signal, (signal.SIGSTOP,))
                late.start()
                wait_until_frozen(child.pid)
                assert Path(f"/proc/{child.pid}/stat").read_text().split()[2] == "T"
                late.join()
                child.send_signal(signal.SIGCONT)
        finally:
            child.kill()


def test_a_process_that_ends_is_not_waited_for() -> None:
    """Nor one that has ended; and its parent still gets its exit status."""
    with subprocess.Popen(["false"]) as child:
        wait_until_frozen(child.pid)
        assert child.wait() == 1
        wait_until_frozen(child.pid)
