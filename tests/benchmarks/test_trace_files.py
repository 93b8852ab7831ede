"""How the files of a message are counted: `make trace`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import CodeType

import pytest
from benchmarks.trace_files import GOOD, HELD, OUTAGE, PACKAGE, RETRIED, Trace, counted, on_memory, row

# What a story may take, on the broker in memory. Fewer is better: lower the limit then.
# Which they are, and why each is an idea of its own: docs/explanation/architecture.md.
LIMITS = {GOOD: 13, RETRIED: 36, HELD: 45, OUTAGE: 46}


@pytest.fixture(scope="module")
def traces() -> dict[str, Trace]:
    return on_memory()


@pytest.mark.parametrize("story", LIMITS)
def test_a_message_runs_through_no_more_files_than_it_did(traces: dict[str, Trace], story: str) -> None:
    """The figure that a reader of the code feels; `python -m benchmarks.trace_files --files` shows which they are."""
    files = list(traces[story].functions)

    assert len(files) <= LIMITS[story], f"{story} runs through {len(files)} files: {', '.join(files)}"


def test_each_story_passes_what_it_is_about(traces: dict[str, Trace]) -> None:
    """A good message meets the circuit and the engine, an outage the ramp as well; nothing that stands in for a broker is counted."""
    assert {"core/circuit.py", "flow/engine.py", "runtime/worker.py"} <= traces[GOOD].functions.keys() < traces[OUTAGE].functions.keys()
    assert "core/ramp.py" in traces[OUTAGE].functions.keys() - traces[HELD].functions.keys()
    assert traces[HELD].functions.keys() < traces[OUTAGE].functions.keys()
    assert {path.partition("/")[0] for path in traces[OUTAGE].functions} <= {
        "core",
        "flow",
        "runtime",
        "http",
        "network.py",
        "tasks.py",
    }


def code(source: str, path: Path) -> CodeType:
    """The code of a module in this file."""
    return compile(source, str(path), "exec")


def test_what_runs_while_a_module_is_imported_does_not_count() -> None:
    """Neither the module's own lines nor those of its classes; a function does, in the file that has it, once."""
    module = code(
        "class Till:\n    def take(self): return [x for x in (1, 2)]\n\nTill().take()\nTill().take()\n", PACKAGE / "flow" / "till.py"
    )
    trace = Trace()

    with trace.running():
        exec(module, {"__name__": "till"})  # noqa: S102 - as an import does

    assert {path: [each.co_name for each in functions] for path, functions in trace.functions.items()} == {"flow/till.py": ["take"]}
    assert sys.getprofile() is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (PACKAGE / "core" / "circuit.py", "core/circuit.py"),
        (PACKAGE / "tasks.py", "tasks.py"),
        (PACKAGE / "core" / "__init__.py", None),
        (PACKAGE / "testing" / "clock.py", None),
        (PACKAGE.parent / "elsewhere.py", None),
        (Path("<string>"), None),
    ],
)
def test_what_counts_is_the_products_own(path: Path, expected: str | None) -> None:
    """No `__init__`, nothing that stands in for a broker, no code of others or made at run time."""
    assert counted(code("", path)) == expected


def test_a_row_sums_up_by_floor() -> None:
    """Files, functions, and the files of each floor; what is on none of them is an other."""
    one, two = code("x = 1", PACKAGE / "a.py"), code("x = 2", PACKAGE / "a.py")
    trace = Trace({"core/a.py": {one, two}, "flow/b.py": {one}, "brokers/kafka/c.py": {one}, "tasks.py": {one}})

    assert row("memory", GOOD, trace) == "| memory | a good message | 4 | 5 | 1 | 1 | 0 | 1 | 1 |"
