"""The records of a fleet's log: what each says, its bytes, and what is let in of bytes that anybody may have written.

A record is one JSON object with short keys: the version, the fleet, the worker, the worker's own number of it, the kind, and the fields of
the kind. A person can read the log with the client's own tools, and a newer version may add fields and kinds, which older ones skip.

A user that may write to the log may write anything. So `decode` looks at the length first, takes no number, text or name that is out of its
range, and returns None for whatever it does not know: nothing in here raises for bytes, and what comes out can be used without a look.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Of what the fields mean. One that would be misread by an older worker raises it; that worker then skips the record.
VERSION = 1

# Longer records are skipped unread. Ours have less than 200 bytes with names of usual length.
LARGEST = 1024

# A worker is a random number, so that neither its host nor its process can be read off the log.
_WORKER = re.compile(r"[0-9a-f]{12}")

# Of a fleet or a dependency, in bytes: with two of them there is room for what else a record says.
LONGEST_NAME = 128

# Of what an operator writes: enough for a sentence and a name.
LONGEST_REASON = 80
LONGEST_ACTOR = 40

# An epoch rises by one per takeover, so a larger number was made up, and could never be outbid.
LARGEST_NUMBER = 2**31 - 1

# A month of seconds. No outage and no order of ours is longer, and a sum with it stays exact.
LONGEST_SECONDS = 31 * 86_400

# How many dependencies one record may list.
MOST_NEEDS = 32


class Need(NamedTuple):
    """What a worker says of one dependency: whether messages wait for it, how many calls it can make, and the last epoch it knows."""

    dependency: str
    backlog: bool
    full: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Here:
    """A worker is there, and speaks again within `beat` seconds."""

    kind: ClassVar[str] = "here"
    beat: int
    needs: tuple[Need, ...]


@dataclass(frozen=True, slots=True)
class Bye:
    """A worker leaves in order."""

    kind: ClassVar[str] = "bye"


@dataclass(frozen=True, slots=True)
class Gone:
    """A conductor has not heard `worker` for three of its beats."""

    kind: ClassVar[str] = "gone"
    worker: str


@dataclass(frozen=True, slots=True)
class Bad:
    """A worker's last `run` calls have failed. `opened`: its circuit has opened by its own rules."""

    kind: ClassVar[str] = "bad"
    dependency: str
    run: int
    opened: bool


@dataclass(frozen=True, slots=True)
class Good:
    """A worker that was bad has had a good call."""

    kind: ClassVar[str] = "good"
    dependency: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker wants to conduct. The first claim of an epoch in the log has it."""

    kind: ClassVar[str] = "claim"
    dependency: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Rest:
    """The conductor of `epoch` gives it up, so that another may take over without a wait."""

    kind: ClassVar[str] = "rest"
    dependency: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Lead:
    """The whole verdict of a conductor: where the fleet is. It is repeated, so a reader needs no other record to know.

    - `phase`: "wait", "ramp" or "up".
    - `stage`: rises with every stage of the ramp, through all epochs.
    - `limit`: of the ramp, how many calls the whole fleet may have in flight.
    - `turn`: of the ramp, the order in which workers get a share. The next one lets others begin.
    - `sharers`: of the ramp, a checksum of who gets a share, as the conductor read it off the log.
    - `failed`: how many probes of this outage have failed.
    - `age`: how many seconds ago the outage began. A length, not a time of day, so that no two clocks are compared.
    - `told`: for how many seconds from now on a server has asked to be left alone. 0: it has not, or an older worker writes.
    """

    kind: ClassVar[str] = "lead"
    dependency: str
    epoch: int
    phase: str
    stage: int
    limit: int
    turn: int
    sharers: int
    failed: int
    age: int
    told: int = 0


@dataclass(frozen=True, slots=True)
class StageTally:
    """What came of a worker's calls that began in `stage`, so far. The last one of a worker replaces the ones before.

    `took`: how many milliseconds the good ones took, all together. 0 means that it is not known: an older worker has not said it.
    """

    kind: ClassVar[str] = "tally"
    dependency: str
    stage: int
    good: int
    bad: int
    took: int = 0


@dataclass(frozen=True, slots=True)
class ToldToWait:
    """A server has asked this worker to be left alone for so many `seconds`, counted from now. An older worker skips it."""

    kind: ClassVar[str] = "told"
    dependency: str
    seconds: int


@dataclass(frozen=True, slots=True)
class FleetOrder:
    """An operator's word for the whole fleet.

    - `word`: "hold", "release", "force_open" or "reset".
    - `number`: rises with every word for this dependency.
    - `again`: a repetition, for those who came later. It never outdoes a newer word.
    - `lasts`: in how many seconds it ends. 0 means that only another word ends it.
    """

    kind: ClassVar[str] = "order"
    dependency: str
    word: str
    number: int
    again: bool
    lasts: int
    reason: str
    actor: str


Said: TypeAlias = Here | Bye | Gone | Bad | Good | Claim | Rest | Lead | StageTally | ToldToWait | FleetOrder


@dataclass(frozen=True, slots=True)
class FleetRecord:
    """One record of the log: what `worker` said, and its own `number` of it, by which it knows its own again."""

    worker: str
    number: int
    said: Said


def is_name(text: str) -> bool:
    """Return whether a text may name a fleet or a dependency in a record."""
    return text.isprintable() and 0 < len(text.encode(errors="replace")) <= LONGEST_NAME


def encode(fleet: str, record: FleetRecord) -> bytes:
    """Return the bytes of a record."""
    said = record.said
    fields: dict[str, object] = {"v": VERSION, "f": fleet, "w": record.worker, "n": record.number, "k": said.kind}
    for key, attribute, _ in _FIELDS[type(said)]:
        fields[key] = getattr(said, attribute)
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def decode(fleet: str, data: bytes) -> FleetRecord | None:
    """Return what bytes of the log say to the workers of `fleet`. None means nothing that we know."""
    fields = _parsed(data)
    if fields is None or fields.get("f") != fleet or fields.get("v") != VERSION:
        return None
    worker, number, kind = _worker(fields.get("w")), _number(fields.get("n")), fields.get("k")
    said_type = _KINDS.get(kind) if isinstance(kind, str) else None
    if worker is None or number is None or said_type is None:
        return None
    values = [check(fields.get(key)) for key, _, check in _FIELDS[said_type]]
    return None if None in values else FleetRecord(worker, number, said_type(*values))


def _parsed(data: bytes) -> dict[str, object] | None:
    if len(data) > LARGEST:
        return None
    try:
        fields: object = json.loads(data)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, a number of a thousand digits; a thousand brackets
        return None
    return cast("dict[str, object]", fields) if isinstance(fields, dict) else None


# Each check returns the value as it is used, or None.


def _worker(value: object) -> str | None:
    return value if isinstance(value, str) and _WORKER.fullmatch(value) else None


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST_NAME else None


def _number(value: object) -> int | None:
    # A bool is an int, and nothing that we write.
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_NUMBER else None


def _seconds(value: object) -> int | None:
    number = _number(value)
    return None if number is None else min(number, LONGEST_SECONDS)


# A field that older workers do not write.


def _number_or_0(value: object) -> int | None:
    return 0 if value is None else _number(value)


def _seconds_or_0(value: object) -> int | None:
    return 0 if value is None else _seconds(value)


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _one_of(*values: str) -> Callable[[object], str | None]:
    return lambda value: value if isinstance(value, str) and value in values else None


def _text(longest: int) -> Callable[[object], str | None]:
    return lambda value: readable(value, longest) if isinstance(value, str) else None


def readable(text: str, longest: int) -> str:
    """Return a text of a person as one line: what could move a cursor or forge a line becomes a space, and the rest is cut."""
    return "".join(each if each.isprintable() else " " for each in text[:longest])


def _needs(value: object) -> tuple[Need, ...] | None:
    if not isinstance(value, list) or len(cast("list[object]", value)) > MOST_NEEDS:
        return None
    needs = [_need(each) for each in cast("list[object]", value)]
    return None if None in needs else tuple(cast("list[Need]", needs))


def _need(value: object) -> Need | None:
    parts = cast("list[object]", value) if isinstance(value, list) else []
    if len(parts) != len(Need._fields):
        return None
    checked = _name(parts[0]), _flag(parts[1]), _number(parts[2]), _number(parts[3])
    return None if None in checked else Need(*cast("tuple[str, bool, int, int]", checked))


_KINDS: dict[str, Callable[..., Said]] = {
    each.kind: each for each in (Here, Bye, Gone, Bad, Good, Claim, Rest, Lead, StageTally, ToldToWait, FleetOrder)
}

_FIELDS: Mapping[object, tuple[tuple[str, str, Callable[[object], object]], ...]] = {
    Here: (("b", "beat", _seconds), ("d", "needs", _needs)),
    Bye: (),
    Gone: (("o", "worker", _worker),),
    Bad: (("d", "dependency", _name), ("r", "run", _number), ("o", "opened", _flag)),
    Good: (("d", "dependency", _name),),
    Claim: (("d", "dependency", _name), ("e", "epoch", _number)),
    Rest: (("d", "dependency", _name), ("e", "epoch", _number)),
    Lead: (
        ("d", "dependency", _name),
        ("e", "epoch", _number),
        ("p", "phase", _one_of("wait", "ramp", "up")),
        ("s", "stage", _number),
        ("l", "limit", _number),
        ("t", "turn", _number),
        ("x", "sharers", _number),
        ("m", "failed", _number),
        ("a", "age", _seconds),
        ("u", "told", _seconds_or_0),
    ),
    StageTally: (
        ("d", "dependency", _name),
        ("s", "stage", _number),
        ("g", "good", _number),
        ("b", "bad", _number),
        ("u", "took", _number_or_0),
    ),
    ToldToWait: (("d", "dependency", _name), ("l", "seconds", _seconds)),
    FleetOrder: (
        ("d", "dependency", _name),
        ("o", "word", _one_of("hold", "release", "force_open", "reset")),
        ("i", "number", _number),
        ("g", "again", _flag),
        ("l", "lasts", _seconds),
        ("r", "reason", _text(LONGEST_REASON)),
        ("c", "actor", _text(LONGEST_ACTOR)),
    ),
}
