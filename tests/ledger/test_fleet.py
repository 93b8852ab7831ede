from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.ledger.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# A worker that counts into the ledger until it is told to end.
WORKER = """
import argparse, pathlib, signal, sys, time
from tests.ledger.ledger import LedgerWriter

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--ledger", type=pathlib.Path)
    parser.add_argument("--name")
    parser.add_argument("--fail", action="store_true")
    arguments = parser.parse_args()
    if arguments.fail:
        sys.exit("no broker today")
    ledger = LedgerWriter(arguments.ledger, arguments.name)
    going = []
    signal.signal(signal.SIGTERM, lambda *_: going.append(1))
    count = 0
    while not going:
        count += 1
        ledger.write("note", count=count)
        time.sleep(0.01)
    ledger.write("note", drained=True)
"""


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    async with Fleet(script, tmp_path) as fleet:
        yield fleet


def counts(entries, who: str) -> int:
    return sum(1 for entry in entries if entry.who == who and "count" in entry.facts)


async def test_workers_write_one_ledger_under_their_names(fleet: Fleet) -> None:
    """Two processes, two names, one story."""
    one, two = fleet.start(2)
    entries = await fleet.until(lambda entries: counts(entries, one.name) > 0 and counts(entries, two.name) > 0)
    assert {entry.who for entry in entries} == {"worker-1", "worker-2"}


async def test_sigterm_lets_a_worker_end_in_order(fleet: Fleet) -> None:
    """A drain: exit code 0 and its last words in the ledger."""
    (worker,) = fleet.start()
    await fleet.until(lambda entries: counts(entries, worker.name) > 0)
    worker.terminate()
    assert await worker.ended() == 0
    assert fleet.ledger.entries()[-1].facts == {"drained": True}


async def test_kill_ends_it_without_a_word(fleet: Fleet) -> None:
    """A crash: exit code -9 and no last words, and the fleet goes on."""
    (worker,) = fleet.start()
    await fleet.until(lambda entries: counts(entries, worker.name) > 0)
    worker.kill()
    assert await worker.ended() == -signal.SIGKILL
    (second,) = fleet.start()
    entries = await fleet.until(lambda entries: counts(entries, second.name) > 0)
    assert second.name == "worker-2"
    assert not any("drained" in entry.facts for entry in entries)


async def test_a_frozen_worker_does_nothing_until_thawed(fleet: Fleet) -> None:
    """While one is frozen another goes on; thawed, it goes on where it was."""
    frozen, other = fleet.start(2)
    await fleet.until(lambda entries: counts(entries, frozen.name) > 0)
    frozen.freeze()
    # The signal takes a moment; the other one's lines measure it.
    begun = counts(fleet.ledger.entries(), other.name)
    entries = await fleet.until(lambda entries: counts(entries, other.name) > begun + 10)
    before = counts(entries, frozen.name)
    entries = await fleet.until(lambda entries: counts(entries, other.name) > begun + 20)
    assert counts(entries, frozen.name) == before
    frozen.thaw()
    await fleet.until(lambda entries: counts(entries, frozen.name) > before)


async def test_a_worker_that_fails_is_told_with_its_words(fleet: Fleet) -> None:
    """Waiting for something ends at once when a worker has ended with an error."""
    fleet.start(1, "--fail")
    with pytest.raises(AssertionError, match="no broker today"):
        await fleet.until(lambda _: False)


async def test_what_does_not_come_is_told_with_the_workers_words(fleet: Fleet) -> None:
    """A timeout names every worker."""
    fleet.start()
    with pytest.raises(TimeoutError, match="--- worker-1"):
        await fleet.until(lambda _: False, timeout=0.1)
