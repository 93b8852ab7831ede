from __future__ import annotations

import subprocess
import sys

# Works for half a second, and tells which part of that it had the processor for.
SCRIPT = """
import sys, time
begun, spent = time.monotonic(), time.process_time()
while time.monotonic() < begun + 0.5:
    pass
print(__name__, sys.argv[1:], (time.process_time() - spent) / (time.monotonic() - begun))
sys.exit(3)
"""


def test_a_slow_process_has_a_part_of_its_time(tmp_path) -> None:
    """It runs as the script would, arguments and exit code included, and stands still for most of the time."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, "-m", "tests.ledger.slow", "4", str(script), "one", "--two"], capture_output=True, text=True, check=False
    )
    name, *arguments, share = ended.stdout.split()
    assert (ended.returncode, name, arguments) == (3, "__main__", ["['one',", "'--two']"]), ended.stderr
    assert float(share) < 0.5
