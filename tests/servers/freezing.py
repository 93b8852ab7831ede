"""Waits until a process that was sent SIGSTOP has stopped."""

from __future__ import annotations

import os
from contextlib import suppress


def wait_until_frozen(pid: int) -> None:
    """Return when each thread of a child has stopped after SIGSTOP, or when it has ended. Its exit status stays for its parent's `wait`.

    The signal wakes one thread, and that one stops the others when it gets the processor: on a busy machine they go on for milliseconds,
    and answer what arrives meanwhile.
    """
    with suppress(ChildProcessError):  # it has ended, and was waited for
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
