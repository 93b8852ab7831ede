"""An append-only ledger: each process writes its own file, one JSON line per fact; the test reads them all as one story."""

from __future__ import annotations

import json
import os
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NewType

from holdgate.flow.plan import SourcePlan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# What may be written, and the facts that must come with it beside `topic`, `partition` and `offset` where a message is meant.
KINDS: Mapping[str, tuple[str, ...]] = {
    "produced": ("topic", "partition", "offset"),  # and `key` where order is kept by key
    "assigned": ("topic", "partition"),
    "revoked": ("topic", "partition"),  # the partition is given up: nothing may be committed for it from here on
    "delivered": ("topic", "partition", "offset"),  # handed out by the client
    "called": ("topic", "partition", "offset"),  # the handler starts
    "processed": ("topic", "partition", "offset"),  # the handler ended well
    "failed": ("topic", "partition", "offset"),  # the handler ended badly, or was interrupted
    "dead_letter": ("topic", "partition", "offset"),
    "deleted": ("topic", "partition", "offset"),  # by the test, at the broker, as retention would
    "committed": ("topic", "partition", "offset"),  # by a worker, after the broker said yes; the next offset, not the last
    "acked": ("topic", "partition", "offset"),  # by a worker, as its ack was written to the connection; this very message
    "observed": ("topic", "partition", "offset"),  # what the test saw committed at the broker
    "held": ("topic", "partition"),
    "asking": ("topic", "partition"),  # held from here on only by what messages end that are let through: they ask, one after another
    "unheld": ("topic", "partition"),
    "opened": ("dependency",),
    "half_opened": ("dependency",),
    "closed": ("dependency",),
    "limit": ("dependency", "limit"),  # of a circuit while half-open
    "call_started": ("dependency", "call"),  # `call` pairs it with its end
    "call_ended": ("dependency", "call"),
    "wasted": ("dependency",),  # a call that the dependency itself answered with an error, or not at all; `caller` says whose
    "down": ("dependency",),  # by the test: from here on the dependency fails
    "up": ("dependency",),  # by the test: it is healthy again
    "paced": (),  # a call by nobody's leave: what the machine and the dependency give just now, to compare rates with
    "sampled": ("waiting", "rss"),  # the most deliveries of one source in hand, and the process's memory in bytes
    "note": (),  # anything a person would want to see in the story
}

# A moment, in the seconds of `Entry.at`. Whoever waits for something takes one *before* what is to cause it, and counts what is written
# after it: a worker may be done before the test looks for the first time, and who counts from that look on waits for one more, in vain.
Mark = NewType("Mark", float)


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact. `at` is monotonic seconds, the same clock for all processes of a machine; `who` names the process that wrote it."""

    at: float
    who: str
    kind: str
    facts: Mapping[str, Any]

    @property
    def place(self) -> tuple[str, int]:
        """Topic and partition."""
        return self.facts["topic"], self.facts["partition"]

    @property
    def offset(self) -> int:
        """Where in the partition; for `committed` and `observed` the next offset."""
        return self.facts["offset"]


class LedgerWriter:
    """The file of one process, `who`, in `folder`. Nothing is buffered here: a kill -9 loses at most the line being written."""

    def __init__(self, folder: Path, who: str) -> None:
        self.who = who
        self._file = os.open(folder / f"{who}-{os.getpid()}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, kind: str, **facts: Any) -> None:
        """Write one fact down, with the time. Raises ValueError for a kind or facts that no invariant would understand."""
        if kind not in KINDS or any(name not in facts for name in KINDS[kind]):
            raise ValueError(f"{kind} needs {KINDS.get(kind, 'to be one of ' + ', '.join(KINDS))}, not {sorted(facts)}")
        line = json.dumps({"at": time.monotonic(), "who": self.who, "kind": kind, **facts})
        # One write for one line: a reader beside us sees all of it or none.
        os.write(self._file, line.encode() + b"\n")

    def close(self) -> None:
        """Close the file; what is in it stays."""
        os.close(self._file)


def hold_kind(reasons: tuple[str, ...]) -> str:
    """Return what a worker that was told of a hold writes down: "asking" where no other reason keeps messages from asking, or "held"."""
    return "asking" if SourcePlan(fetch=False, reasons=reasons).lets_ask else "held"


_at = attrgetter("at")


def mark() -> Mark:
    """Return this moment."""
    return Mark(time.monotonic())


def after(entries: Sequence[Entry], since: Mark) -> Sequence[Entry]:
    """Return those that were written after the mark, by whatever process of this machine."""
    return entries[bisect_right(entries, since, key=_at) :]


@dataclass(slots=True)
class Ledger:
    """All files in `folder`, read on from where the last look ended. `counts`: how many entries of each kind have been read.

    Whoever waits for many asks the counts first: at each look through a hundred thousand entries the workers wait for the processor.
    """

    folder: Path
    counts: Counter[str] = field(default_factory=Counter)
    _entries: list[Entry] = field(default_factory=list)
    _read_to: dict[Path, int] = field(default_factory=dict)

    def writer(self, who: str) -> LedgerWriter:
        """Return a file for `who`."""
        return LedgerWriter(self.folder, who)

    def entries(self) -> list[Entry]:
        """Return everything written until now, by time. A last line that a kill cut short is left out."""
        news = [entry for path in sorted(self.folder.glob("*.jsonl")) for entry in self._news(path)]
        if news:
            self.counts.update(entry.kind for entry in news)
            # Only the end can be out of order: what one process wrote while another one's file was read.
            end = bisect_left(self._entries, min(map(_at, news)), key=_at)
            self._entries[end:] = sorted(self._entries[end:] + news, key=_at)
        return list(self._entries)

    def _news(self, path: Path) -> list[Entry]:
        begin = self._read_to.get(path, 0)
        with path.open("rb") as file:
            file.seek(begin)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read_to[path] = begin + len(whole) + len(newline)
        return [_entry(line) for line in whole.splitlines()]


def _entry(line: bytes) -> Entry:
    facts = json.loads(line)
    return Entry(at=facts.pop("at"), who=facts.pop("who"), kind=facts.pop("kind"), facts=facts)
