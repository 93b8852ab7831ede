"""The tests' side of a run: one process for each broker, and what it has told of its cells until now."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.table import find
from tests.servers.guardian import guardian

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(__file__).parents[2]
# The whole table takes under half an hour on two quiet cores; what takes longer hangs.
PATIENCE = 5400.0
END_WITHIN = 60.0


class Runs:
    """Runs cells in processes of their own, all at once; `outcome` waits for one of them. `folder` keeps ledgers and output."""

    def __init__(self, names: Iterable[str], folder: Path) -> None:
        self.outcomes: dict[str, Mapping[str, Any]] = {}
        self.servers: dict[str, str] = {}
        self._changed = threading.Condition()
        self._processes: list[tuple[subprocess.Popen[str], Path]] = []
        self._ended = 0
        wanted = list(names)
        for is_kafka, called in ((True, "kafka"), (False, "rabbitmq")):
            if mine := [name for name in wanted if find(name).broker.is_kafka is is_kafka]:
                self._start(mine, folder / called)

    def outcome(self, name: str) -> Mapping[str, Any]:
        """Wait for a cell. Raises RuntimeError with what was printed when its process ended without it."""
        with self._changed:
            self._changed.wait_for(lambda: name in self.outcomes or self._ended == len(self._processes), PATIENCE)
        if name not in self.outcomes:
            raise RuntimeError(f"no word of {name}:\n" + "\n".join(errors.read_text()[-3000:] for _, errors in self._processes))
        return self.outcomes[name]

    def close(self) -> None:
        """End what still runs: the processes see their standard input close."""
        for process, _ in self._processes:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(END_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            guardian.process_ended(process.pid)

    def _start(self, names: list[str], folder: Path) -> None:
        folder.mkdir(parents=True)
        errors = folder / "errors.txt"
        with errors.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.run", str(folder), *names],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True, cwd=ROOT, start_new_session=True,
            )  # fmt: skip
        guardian.watch_process(process.pid)
        self._processes.append((process, errors))
        threading.Thread(target=self._read, args=(process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            with self._changed:
                self.servers.update(told.pop("servers", {}))
                if "cell" in told:
                    self.outcomes[told["cell"]] = told
                self._changed.notify_all()
        process.stdout.close()
        with self._changed:
            self._ended += 1
            self._changed.notify_all()
