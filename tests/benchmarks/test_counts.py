"""The figures of docs/reference/benchmarks.md that are counts, so that they hold on every machine."""

from __future__ import annotations

import subprocess
import sys

import pytest
from benchmarks.import_time import FOUND
from benchmarks.refusals import acquiring, admitted_at_half_open, asking, by_exception, bytes_kept, opened, wasted_calls

from holdgate import CallNotPermitted

MILLION = 1_000_000


def test_importing_holdgate_brings_in_no_client() -> None:
    """Neither a broker's client, nor a store, nor a web server, nor anything of the command line."""
    found = subprocess.run([sys.executable, "-c", FOUND], check=True, capture_output=True, text=True)

    assert found.stdout.split() == []


@pytest.mark.parametrize(("way", "refusals"), [(asking, MILLION), (acquiring, MILLION), (by_exception, MILLION // 10)])
def test_refusals_keep_no_byte(way, refusals: int) -> None:
    """A million by asking first or by the circuit's answer, and a tenth of that by exception, which takes ten times as long."""
    assert bytes_kept(way(opened()), refusals) == 0


def test_what_refusals_keep_would_be_seen() -> None:
    """Even a single reference each."""
    guarded, kept = opened().guarded(lambda: None), []

    def refuse() -> None:
        try:
            guarded()
        except CallNotPermitted as refusal:
            kept.append(refusal)

    assert bytes_kept(refuse, 1000) > 8 * 1000


@pytest.mark.parametrize("probes", [0, 3])
@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_a_total_outage_wastes_no_more_than_the_calls_that_show_it(concurrency: int, probes: int) -> None:
    """Five failures in a row, what was in flight beside the fifth, and one call for each probe."""
    assert wasted_calls(concurrency, probes) <= 5 + concurrency - 1 + probes


def test_of_a_hundred_waiting_callers_exactly_the_limit_is_let_through() -> None:
    """All ask at the first moment of half-open."""
    admitted, limit = admitted_at_half_open(100)

    assert admitted == limit == 1
