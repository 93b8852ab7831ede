"""The invariants on messages: none lost, none committed before it is processed, in order, few duplicates, no wrong dead letter."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from tests.ledger.ledger import Entry

Place = tuple[str, int]
Message = tuple[str, int, int]
Row = tuple[Place, object]  # what is kept in order: a partition, or one key in it

# A message is done with when its handler ended well, when it went to the dead letters, or when retention took it.
DONE = ("processed", "dead_letter", "deleted")


def message(entry: Entry) -> Message:
    """Topic, partition and offset."""
    return (*entry.place, entry.offset)


class _Waiting:
    """The messages of one row that are not done with yet. Asked once per entry, so it keeps the first of them at hand."""

    def __init__(self, offsets: Collection[int]) -> None:
        self._offsets = sorted(offsets)
        self._done: set[int] = set()
        self._first = 0

    def done(self, offset: int) -> None:
        self._done.add(offset)
        while self._first < len(self._offsets) and self._offsets[self._first] in self._done:
            self._first += 1

    def before(self, offset: int) -> list[int]:
        """Return those below `offset`, the first five at most."""
        end = bisect_left(self._offsets, offset)
        return list(islice((number for number in self._offsets[self._first : end] if number not in self._done), 5))


def _row(entry: Entry, *, by_key: bool) -> Row:
    return entry.place, entry.facts.get("key") if by_key else None


def _rows(entries: Sequence[Entry], *, by_key: bool) -> dict[Row, _Waiting]:
    offsets: dict[Row, set[int]] = defaultdict(set)
    for entry in entries:
        if entry.kind == "produced":
            offsets[_row(entry, by_key=by_key)].add(entry.offset)
    return {row: _Waiting(numbers) for row, numbers in offsets.items()}


def lost(entries: Sequence[Entry]) -> Iterator[str]:
    """Every message that was produced is processed, or is a dead letter, or was deleted by the broker."""
    done = {message(entry) for entry in entries if entry.kind in DONE}
    missing = sorted({message(entry) for entry in entries if entry.kind == "produced"} - done)
    if missing:
        yield f"lost: {len(missing)} messages produced and never processed, first {missing[:5]}"


def committed_too_far(entries: Sequence[Entry], at_the_broker: Mapping[Place, int]) -> Iterator[str]:
    """No commit, at any time, passes a message that was not done with by then.

    By what the workers wrote after each commit, by what the test saw at the broker meanwhile, and by `at_the_broker` at the end.
    """
    rows = _rows(entries, by_key=False)
    for entry in entries:
        if entry.kind in DONE and (row := rows.get((entry.place, None))):
            row.done(entry.offset)
        elif entry.kind in ("committed", "observed"):
            yield from _passed(rows, entry.place, entry.offset, f"{entry.kind} by {entry.who}")
    for place, offset in at_the_broker.items():
        yield from _passed(rows, place, offset, "committed at the end")


def _passed(rows: Mapping[Row, _Waiting], place: Place, offset: int, what: str) -> Iterator[str]:
    if passed := rows[place, None].before(offset) if (place, None) in rows else []:
        yield f"commit past unprocessed: {place} {what} up to {offset}, not processed {passed}"


def acked_unprocessed(entries: Sequence[Entry]) -> Iterator[str]:
    """No ack goes out for a message that was not done with by then."""
    done: set[Message] = set()
    for entry in entries:
        if entry.kind in DONE:
            done.add(message(entry))
        elif entry.kind == "acked" and message(entry) not in done:
            yield f"ack of unprocessed: {entry.who} acked {message(entry)}"


def commits_backwards(entries: Sequence[Entry], *, takeovers: bool = False) -> Iterator[str]:
    """Within one assignment a worker's commits only rise; after a revocation there is none until the next assignment.

    What the test saw at the broker never falls at all: that would be a commit by somebody who had lost the partition. `takeovers`: where
    a coordinator may have just taken over, it may answer once with what was there a moment before. Then the next look, with no commit in
    between, shows at least what was there.
    """
    last: dict[tuple[str, Place], int] = {}
    seen: dict[Place, int] = {}
    fallen: dict[Place, int] = {}
    gone: set[tuple[str, Place]] = set()
    for entry in entries:
        if entry.kind == "observed":
            place, highest = entry.place, seen.get(entry.place, 0)
            if entry.offset >= highest:
                seen[place] = entry.offset
                fallen.pop(place, None)
            elif place in fallen or not takeovers:
                yield _rewound(place, highest, entry.offset)
            else:
                fallen[place] = entry.offset
        elif entry.kind in ("assigned", "revoked", "committed"):
            if entry.kind == "committed" and entry.place in fallen:
                yield _rewound(entry.place, seen.pop(entry.place), fallen.pop(entry.place))
            yield from _one_assignment(entry, last, gone)
    for place, offset in fallen.items():
        yield _rewound(place, seen[place], offset)


def _rewound(place: Place, highest: int, offset: int) -> str:
    return f"commit rewound: {place} went from {highest} back to {offset} at the broker"


def _one_assignment(entry: Entry, last: dict[tuple[str, Place], int], gone: set[tuple[str, Place]]) -> Iterator[str]:
    whose = entry.who, entry.place
    if entry.kind == "assigned":
        gone.discard(whose)
        last.pop(whose, None)
    elif entry.kind == "revoked":
        gone.add(whose)
    else:
        if whose in gone:
            yield f"commit after revocation: {entry.who} committed {entry.place} at {entry.offset}"
        if entry.offset < last.get(whose, 0):
            yield f"commit rewound: {entry.who} committed {entry.place} at {last[whose]} and then at {entry.offset}"
        last[whose] = entry.offset


def called_by_a_former_owner(entries: Sequence[Entry], grace: float) -> Iterator[str]:
    """No handler starts in a worker that gave the partition up, or once it was assigned to another one, `grace` seconds left out."""
    owner: dict[Place, str] = {}
    lost: dict[tuple[str, Place], float] = {}
    for entry in entries:
        whose = entry.who, entry.place if "topic" in entry.facts else ("", 0)
        if entry.kind == "revoked":
            lost.setdefault(whose, entry.at)
        elif entry.kind == "assigned":
            before = owner.get(entry.place, entry.who)
            owner[entry.place] = entry.who
            if before != entry.who:
                lost.setdefault((before, entry.place), entry.at)
            lost.pop(whose, None)
        elif entry.kind == "called" and entry.at > lost.get(whose, entry.at) + grace:
            yield f"called by a former owner: {entry.who} called {message(entry)}, lost {entry.at - lost[whose]:.3f} s before"


def uncommitted(entries: Sequence[Entry], who: str) -> int:
    """How many messages `who` has processed that no commit of its own covers: what its crash makes again."""
    committed: dict[Place, int] = {}
    for entry in entries:
        if entry.kind == "committed" and entry.who == who:
            committed[entry.place] = entry.offset
    return sum(1 for entry in entries if entry.kind == "processed" and entry.who == who and entry.offset >= committed.get(entry.place, 0))


def duplicates(entries: Sequence[Entry], allowed: int) -> Iterator[str]:
    """No more than `allowed` messages are processed again, counted once for each time."""
    times = Counter(message(entry) for entry in entries if entry.kind == "processed")
    again = {where: count - 1 for where, count in times.items() if count > 1}
    if sum(again.values()) > allowed:
        yield f"duplicates: {sum(again.values())}, allowed {allowed}, first {sorted(again)[:5]}"


def out_of_order(entries: Sequence[Entry], *, by_key: bool) -> Iterator[str]:
    """A handler starts only when everything before it in its partition (by key: with its key) is done with, whoever did it."""
    row_of = {message(entry): _row(entry, by_key=by_key) for entry in entries if entry.kind == "produced"}
    rows = _rows(entries, by_key=by_key)
    for entry in entries:
        if entry.kind in DONE and message(entry) in row_of:
            rows[row_of[message(entry)]].done(entry.offset)
        elif entry.kind == "called" and message(entry) in row_of and (before := rows[row_of[message(entry)]].before(entry.offset)):
            yield f"out of order: {entry.who} called {message(entry)} before {before} were done"


def wrong_dead_letters(entries: Sequence[Entry], poison: Collection[Message]) -> Iterator[str]:
    """The dead letters are the poison messages, exactly."""
    found = {message(entry) for entry in entries if entry.kind == "dead_letter"}
    if wrong := sorted(found - set(poison)):
        yield f"dead letters: {len(wrong)} good messages, first {wrong[:5]}"
    if missing := sorted(set(poison) - found):
        yield f"dead letters: {len(missing)} poison messages are missing, first {missing[:5]}"


def called_but_not_produced(entries: Sequence[Entry]) -> Iterator[str]:
    """The ledger itself is whole: nothing is processed that nobody produced."""
    produced = {message(entry) for entry in entries if entry.kind == "produced"}
    strange = sorted({message(entry) for entry in entries if entry.kind == "processed"} - produced)
    if strange:
        yield f"ledger: processed and never produced, first {strange[:5]}"
