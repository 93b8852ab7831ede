"""The figures of docs/reference/benchmarks.md that are counts, so that they hold on every machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.import_time import FOUND
from benchmarks.refusals import admitted_at_half_open, wasted_calls

ROOT = Path(__file__).parents[2]
MILLION = 1_000_000


# In a process of its own: what other tests have left behind is freed at any time.
KEPT = """
from benchmarks.refusals import acquiring, asking, by_exception, bytes_kept, opened

def kept(dependency):
    refusals = []
    circuit = dependency.circuit
    return lambda: refusals.append(circuit.snapshot(0.0))

print(bytes_kept({way}(opened()), {refusals}))
"""


def kept_by(way: str, refusals: int) -> int:
    code = KEPT.format(way=way, refusals=refusals)
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout)


def test_importing_holdgate_brings_in_no_client() -> None:
    """With all of its public names: neither a broker's client, nor a store, nor a web server, nor anything of the command line."""
    found = subprocess.run([sys.executable, "-c", FOUND], check=True, capture_output=True, text=True)

    assert found.stdout.split() == []


@pytest.mark.parametrize(("way", "refusals"), [("asking", MILLION), ("acquiring", MILLION), ("by_exception", MILLION // 10)])
def test_refusals_keep_no_byte(way: str, refusals: int) -> None:
    """A million by asking first or by the circuit's answer, and a tenth of that by exception, which takes ten times as long."""
    assert kept_by(way, refusals) == 0


def test_what_refusals_keep_would_be_seen() -> None:
    """Even a single reference each."""
    assert kept_by("kept", 1000) > 8 * 1000


@pytest.mark.parametrize("probes", [0, 3])
@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_a_total_outage_wastes_no_more_than_the_calls_that_show_it(concurrency: int, probes: int) -> None:
    """Five failures in a row, what was in flight beside the fifth, and one call for each probe."""
    assert wasted_calls(concurrency, probes) <= 5 + concurrency - 1 + probes


def test_of_a_hundred_waiting_callers_exactly_the_limit_is_let_through() -> None:
    """All ask at the first moment of half-open."""
    admitted, limit = admitted_at_half_open(100)

    assert admitted == limit == 1


def test_the_first_outage_of_a_process_imports_nothing() -> None:
    """The partition is paused a hundred times later if the first failure reads modules from the disk: a start has done that."""
    command = [sys.executable, "-m", "benchmarks.first_outage", "--once"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    _first, _later, *imported = done.stdout.split()

    assert imported == []
