"""What an HTTP answer says of the limit behind it: how long to wait, how many calls are left, and when their window ends.

How long to wait is in waits.py. The rest is in the same headers, and good answers have them, too: so a limit can be kept without ever being
refused. Of several limits the one counts that lets the fewest calls through. Limits of anything but calls (tokens, bytes) say nothing of
how many calls are left, though a refusal by them says how long to wait.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from holdgate.http.answers import headers_of, status_of
from holdgate.http.waits import limit_of, limits_in, remaining_of, time_of, wait_of
from holdgate.slips import passed_uncalled
from holdgate.told import Told, believable

# `ratelimit-reset`, `x-ratelimit-reset-requests`, `anthropic-ratelimit-requests-reset`, Discord's `x-ratelimit-reset-after`.
_OF_CALLS = re.compile(r"(?:.*-)?ratelimit-(?:requests-)?reset(?:-requests|-after)?")
# `"burst";q=100;w=60;qu="requests"` of a RateLimit-Policy, and `"burst";r=0;t=30` of the RateLimit beside it.
_NAME = re.compile(r'\s*"([^"]*)"')
_UNIT = re.compile(r';\s*qu="([^"]*)"')
_CALLS = "requests"


@passed_uncalled("told=http.told")
def told(answer: object) -> Told | None:
    """Return what an answer says of its limit, from its headers. None means nothing.

    `answer` is a client's exception, or its response: `Dependency(told=http.told)` reads those of good calls as well. Reads what
    `http.retry_after` reads, and of the limits of calls what remains and when they are reset. What cannot be true is left out.
    """
    headers = headers_of(answer)
    return told_by(headers, status_of(answer)) if headers else None


def told_by(headers: Mapping[str, str], status: int | None) -> Told | None:
    """Return the same from headers, by lower-case name, and the status."""
    remaining, reset = _window(headers)
    return believable(Told(wait_of(headers, status), remaining, reset))


def _window(headers: Mapping[str, str]) -> tuple[int | None, float | None]:
    """Return the limit that lets the fewest calls through from now on."""
    known = [(remaining, reset) for remaining, reset in _limits(headers) if reset > 0]
    return min(known, key=lambda limit: (limit[0] / limit[1], -limit[1]), default=(None, None))


def _limits(headers: Mapping[str, str]) -> Iterator[tuple[int, float]]:
    for remaining, reset in (*_structured(headers), *_separate(headers)):
        if remaining is not None and reset is not None:
            yield remaining, reset


def _structured(headers: Mapping[str, str]) -> Iterator[tuple[int | None, float | None]]:
    value = headers.get("ratelimit", "")
    units = {_name(policy): unit[1] for policy in limits_in(headers.get("ratelimit-policy", "")) if (unit := _UNIT.search(policy))}
    for limit in limits_in(value):
        if units.get(_name(limit), _CALLS) == _CALLS:
            yield limit_of(limit)


def _separate(headers: Mapping[str, str]) -> Iterator[tuple[int | None, float | None]]:
    for name, value in headers.items():
        if _OF_CALLS.fullmatch(name.replace("rate-limit", "ratelimit")):
            yield remaining_of(name, headers), time_of(value, headers)


def _name(limit: str) -> str | None:
    found = _NAME.match(limit)
    return None if found is None else found[1]
