"""Worker processes that begin with everything imported: forked from one process for each script, which has imported what that imports.

Its imports take a worker four tenths of a second of the processor, and a run of the tests starts hundreds of them.

The test's side and the nursery speak in lines of JSON, one question and one answer at a time. A worker is a program like any other: it is
in a session of its own, has the environment, the arguments and the output file it was given, and ends as the script ends.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# -- the test's side ------------------------------------------------------------------------------------------------------------------


class Nursery:
    """Starts workers that run `script`, with `environment` for the imports. Its process ends when this one does, however that ends."""

    def __init__(self, script: Path, environment: Mapping[str, str]) -> None:
        pipe = subprocess.PIPE
        # A session of its own: Ctrl-C in the terminal goes to the test, which then ends its workers.
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(script)], env=environment, stdin=pipe, stdout=pipe, text=True, start_new_session=True
        )
        self._lock = threading.Lock()
        atexit.register(self.close)

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], output: Path) -> Forked:
        """Start a worker whose output goes to this file, which is there when this returns."""
        output.touch()
        return Forked(self, self.ask({"start": list(arguments), "environment": dict(environment), "output": str(output)}))

    def ask(self, question: Mapping[str, Any]) -> Any:
        """Return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it. Its workers are ended by those who started them."""
        atexit.unregister(self.close)
        self._process.communicate()


class Forked:
    """A worker, with as much of `subprocess.Popen` as is needed. Its id is its own until `poll` has returned how it ended."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        """Return the exit code, below zero after a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._nursery.ask({"ended": self.pid})
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


# -- the nursery's side ---------------------------------------------------------------------------------------------------------------


def serve(questions: Any, answers: int) -> list[str] | None:
    """Answer until there are no more questions; or, in a worker that was forked meanwhile, return its arguments."""
    for line in iter(questions.readline, ""):
        question = json.loads(line)
        if "ended" in question:
            pid, status = os.waitpid(question["ended"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                os.close(answers)
                become(question)
                return question["start"]
        os.write(answers, json.dumps(answer).encode() + b"\n")
    return None


def become(question: Mapping[str, Any]) -> None:
    """Make this process one of its own: session, environment, and where it reads and writes."""
    os.setsid()
    os.environ.clear()
    os.environ.update(question["environment"])
    output = os.open(question["output"], os.O_WRONLY | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in ((0, nothing), (1, output), (2, output)):
        os.dup2(file, number)
    os.close(output)
    os.close(nothing)


def main(script: str) -> None:
    """Import what the script imports, serve, and in a worker run the script as if it had been called."""
    sys.path[0] = str(Path(script).parent)
    # What is asked and answered has descriptors of its own: a worker's standard ones are its output.
    questions = os.fdopen(os.dup(0), closefd=True)
    answers = os.dup(1)
    os.dup2(2, 1)
    runpy.run_path(script, run_name="imported")
    arguments = serve(questions, answers)
    if arguments is not None:
        questions.close()
        sys.argv = [script, *arguments]
        runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1])
