"""A process that has only a part of its time, as on a machine that others use: `python -m tests.ledger.slow 4 SCRIPT ARGUMENTS...`.

One time in four the script goes on, and in between nothing of its Python does: no timer, no heartbeat, no signal handler. A thread sleeps
meanwhile and keeps the interpreter's lock, so it costs no processor time, and slows this process and no other.
"""

from __future__ import annotations

import ctypes
import runpy
import sys
import threading
import time

# Long enough for a few turns of an event loop, short enough that no heartbeat of the tests (0.3 s and more) is missed for it alone.
SLICE = 0.04


def slow_down(times: float) -> None:
    """Leave this process one `times`-th of its time, from now on to its end."""
    # PyDLL and not CDLL: it keeps the lock while the function runs.
    stand_still = ctypes.PyDLL(None).usleep
    stand_still.argtypes = [ctypes.c_uint]

    def hold() -> None:
        while True:
            stand_still(int(SLICE * (1 - 1 / times) * 1e6))
            time.sleep(SLICE / times)

    threading.Thread(target=hold, daemon=True).start()


if __name__ == "__main__":
    slow_down(float(sys.argv[1]))
    del sys.argv[:2]
    runpy.run_path(sys.argv[0], run_name="__main__")
