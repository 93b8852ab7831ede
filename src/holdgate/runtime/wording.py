"""How the log writes times, numbers, sources, and what was raised: the words that all its lines share.

An exception is its type, the status or error number that it carries, and the user's own line. Its text is left out: it may quote the
message, or a URL with a password. A status and a number are the server's or the system's, and say what a person asks first: 503 or 429,
refused or unreachable.

Names of topics, queues and groups come from outside. Log lines have their control characters escaped (`one_line`), so that no name can
begin a line that looks like another record, or talk to a terminal.
"""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Iterable
from functools import cache
from importlib import import_module

from holdgate.core.causes import chain_of, leaves, named, reading
from holdgate.flow.message import AnyDelivery, Partition, Source
from holdgate.network import attribute

_MINUTE = 60
_HOUR = 3600
_FOUR_DIGITS = 999.5  # from here on three digits are rounded to "1e+03"

# Enough for a sentence, and too short for a document that a client quotes (characters).
_TEXT_AT_MOST = 200


# -- a line ---------------------------------------------------------------------------------------------------------------------------


def one_line(text: str) -> str:
    """Return a line of the log with everything escaped that is not printable, line breaks included."""
    return text if text.isprintable() else "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


# -- times and numbers ----------------------------------------------------------------------------------------------------------------


def lasting(seconds: float) -> str:
    """Return a duration in the two largest units that matter: `5.2 s`, `10 min 3 s`, `2 h 5 min`."""
    if seconds < _MINUTE - 0.05:  # what would be shown as 60.0 s is a minute
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min" + (f" {whole % _MINUTE} s" if whole % _MINUTE else "")
    minutes = round(seconds / _MINUTE)
    return f"{minutes // _MINUTE:,} h" + (f" {minutes % _MINUTE} min" if minutes % _MINUTE else "")


def many(number: int, one: str, several: str = "") -> str:
    """Return a number with its noun: `1 call`, `1,500 calls`. `several` is the plural if it is not `one` with an s."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def per_second(pace: float) -> str:
    """Return a number of calls a second, in three digits where that is enough: `9.8`, `0.0167`, `1200`."""
    return f"{pace:.3g}" if pace < _FOUR_DIGITS else f"{pace:.0f}"


# -- sources --------------------------------------------------------------------------------------------------------------------------


def sources(several: Iterable[Source]) -> str:
    """Return partitions by topic, `orders[0,1,4]`, and queues by name."""
    by_topic: dict[str, list[int]] = {}
    for source in several:
        numbers = by_topic.setdefault(source.name, [])
        if isinstance(source, Partition):
            numbers.append(source.number)
    return ", ".join(name + (f"[{','.join(map(str, sorted(numbers)))}]" if numbers else "") for name, numbers in by_topic.items())


def place_of(delivery: AnyDelivery) -> str:
    """Return where a message stands: `orders[0]@712`, with its offset, or on RabbitMQ its delivery tag."""
    return f"{delivery.source}@{delivery.position}"


# -- what was raised ------------------------------------------------------------------------------------------------------------------


class RaisedElsewhere(Exception):
    """Stands for what was raised in another process. What the log says of it was found out there.

    `kind`, `place`, `text` and `trace` are what `kind_of`, `whereabouts`, `text_of` and `steps` have returned.
    """

    def __init__(self, kind: str, place: str, text: str, trace: str) -> None:
        super().__init__(kind, place, text, trace)
        self.kind = kind
        self.place = place
        self.text = text
        self.trace = trace

    def __str__(self) -> str:
        return f"{self.kind} at {self.place}"


def kind_of(error: BaseException) -> str:
    """Return the type of an exception with the status or the error number behind it: `HTTPStatusError 503`, `URLError ECONNREFUSED`."""
    if isinstance(error, RaisedElsewhere):
        return error.kind
    from holdgate.http.answers import status_of  # noqa: PLC0415 - at the first failure: a start needs nothing of HTTP

    for link in chain_of(error).explicit:
        status = status_of(link)
        if status is not None:
            return f"{named(error)} {status:d}"
        number = attribute(link, "errno") if isinstance(link, OSError) else None
        if isinstance(number, int) and not isinstance(number, bool):
            return f"{named(error)} {errno.errorcode.get(number, f'errno {number:d}')}"
    return named(error)


def warm() -> None:
    """Import and look up what a failure needs, before there is one: the first outage of a process must not wait for a disk.

    A start has the time. What is imported here is no part of `import holdgate`, because a program may have no run at all.
    """
    import_module("random")  # for the jitter of waits
    import_module("holdgate.runtime.known_limits")  # whether one of all known clients was told "not so fast" by it
    kind_of(OSError())
    whereabouts(OSError())
    _not_the_users()


def text_of(error: BaseException) -> str:
    """Return the text of an exception in one line of at most 200 characters. Its `__str__` is not ours, and may fail."""
    if isinstance(error, RaisedElsewhere):
        return error.text
    try:
        text = " ".join(str(error).split())
    except Exception as failure:  # noqa: BLE001 - somebody else's code; a line without the text is better than none
        return f"<its text raised {type(failure).__name__}>"
    return text if len(text) <= _TEXT_AT_MOST else text[: _TEXT_AT_MOST - 3] + "..."


@cache
def _not_the_users() -> tuple[str, ...]:
    """Return where other people's code lives: the line that a reader can do something about is outside of these folders."""
    import site  # noqa: PLC0415 - at the first failure: a start needs it not

    # Neither sysconfig nor pathlib: to import them takes twenty times as long as all that is done here.
    stdlib, ours = os.path.dirname(os.__file__), os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - see above
    return tuple({*site.getsitepackages(), stdlib, ours})


def whereabouts(error: BaseException) -> str:
    """Return `file:line` of the innermost line outside of libraries, or of the innermost of all; of a group, that of its first member.

    Where nothing but libraries shows, its cause may know better: a `StopIteration` becomes a RuntimeError far from the line that raised it.
    """
    if isinstance(error, RaisedElsewhere):
        return error.place
    return reading(_whereabouts, error)


def _whereabouts(error: BaseException) -> str:
    error = _telling(error)
    places = _places(error)
    own = _own(places) or ([] if error.__cause__ is None else _own(_places(error.__cause__)))
    if not (own or places):
        return "an unknown place"
    file, line = (own or places)[-1]
    return f"{_short(file)}:{line}"


def _places(error: BaseException) -> list[tuple[str, int]]:
    # Not `extract_tb`, which reads the lines of source, too: an outage brings many of these.
    return [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]


def _own(places: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return [place for place in places if not place[0].startswith(_not_the_users())]


def _short(file: str) -> str:
    """Return the file's name, with its folder where the name says nothing. The whole path is in the traceback at DEBUG."""
    parts = file.replace("\\", "/").split("/")
    return "/".join(parts[-2:] if parts[-1].startswith("__") else parts[-1:])


def steps(error: BaseException) -> str:
    """Return the traceback of an exception, or of the first member of a group, without the exception's text."""
    if isinstance(error, RaisedElsewhere):
        return error.trace
    return "".join(traceback.format_tb(reading(_telling, error).__traceback__)).rstrip()


def _telling(error: BaseException) -> BaseException:
    """Return the exception whose traceback says most: of a group its first member, if that was raised at all."""
    leaf = leaves(error)[0]
    return error if leaf.__traceback__ is None else leaf
