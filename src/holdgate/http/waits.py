"""When a server wants to be asked again, from the headers of its answer.

Several say it, each in its own unit. In this order, and the first that can be read counts:

1. `retry-after-ms`, `x-ms-retry-after-ms`, `x-amz-retry-after`: milliseconds. The finest, so it comes first, as in OpenAI's own client.
2. `Retry-After`: seconds or a date (RFC 9110, 10.2.3).
3. `RateLimit` of the IETF's drafts: `"default";r=0;t=30` (from draft 8 on) or `limit=9, remaining=0, reset=30` (draft 7).
4. `RateLimit-Reset` (up to draft 6), `X-RateLimit-Reset`, `X-RateLimit-Reset-After`, `X-RateLimit-Reset-Requests`,
   `Anthropic-RateLimit-Tokens-Reset` and the like, each beside a `Remaining` of the same kind. In seconds, as an instant, or as a
   duration such as `1m30s`.

3 and 4 come with good answers, too: they say when a limit begins anew, and matter only where it is used up (nothing remains, or the
status is 429). Where several limits are used up, the longest counts, for the others do not help before.

No clock is read here. An instant is compared with the answer's own Date header, the server's clock with itself: this machine's may be
wrong. Without a Date an instant tells nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus

from holdgate.http.answers import headers_of, status_of

# A quota of a month is the longest that APIs sell; a longer wait is a mistake of units, and no wait at all.
_LONGEST = 31 * 86400.0

# Numbers without a unit: seconds to wait, seconds since 1970 (from 2001 on), or milliseconds since 1970. They are orders apart.
_EPOCH_SECONDS = 1e9
_EPOCH_MILLISECONDS = 1e12

_MILLISECONDS = ("retry-after-ms", "x-ms-retry-after-ms", "x-amz-retry-after")

# RFC 9110 has digits alone. A decimal fraction is not allowed there, but servers send it.
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]+)?")
# OpenAI's and Groq's: 6m0s, 1m30s, 7.66s, 250ms, 1h0m0s, 2d.
_DURATION = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m(?!s))?(?:(\d{1,7}(?:\.\d+)?)s)?(?:(\d{1,10}(?:\.\d+)?)ms)?")
_UNITS = (86400.0, 3600.0, 60.0, 1.0, 0.001)

# The parameters of one limit, as in `"burst";r=0;t=30` and `limit=9, remaining=0, reset=30`.
_REMAINING = re.compile(r"(?:^|[;,\s])(?:r|remaining)=(\d+)")
_RESET = re.compile(r"(?:^|[;,\s])(?:t|reset)=(\d{1,15})")
_RESET_NAME = re.compile(r".*ratelimit-(?:.+-)?reset(?:-.+)?")


def retry_after(error: BaseException) -> float | None:
    """The seconds after which the server wants to be asked again, from the headers of its answer; None when it does not say.

    Retry-After in seconds, as a date, in milliseconds; else the rate-limit headers of the usual APIs, where a limit is used up. A date is
    compared with the answer's own Date header, no clock is read; one that has passed is 0.0. What makes no sense is None.
    """
    headers = headers_of(error)
    return wait_of(headers, status_of(error)) if headers else None


def wait_of(headers: Mapping[str, str], status: int | None) -> float | None:
    """The same from headers (by lower-case name) and the status; None when neither says."""
    for name in _MILLISECONDS:
        wait = _number(headers.get(name, ""))
        if wait is not None:
            return _believable(wait / 1000)
    if "retry-after" in headers:
        return _wait(headers["retry-after"], headers)
    is_refused = status == HTTPStatus.TOO_MANY_REQUESTS
    limits = [*_structured(headers), *_separate(headers)]
    used_up = [wait for remaining, wait in limits if remaining == 0]
    # A 429 without a limit at 0 was too dear for what remains (tokens), or tells no number: the first limit to begin anew may do.
    return max(used_up) if used_up else min((wait for _, wait in limits), default=None) if is_refused else None


def _structured(headers: Mapping[str, str]) -> Iterator[tuple[int | None, float]]:
    value = headers.get("ratelimit", "")
    # From draft 8 on a comma is between limits; in draft 7 there is one limit, and commas are between its parameters.
    for limit in value.split(",") if ";" in value else [value]:
        reset, remaining = _RESET.search(limit), _REMAINING.search(limit)
        wait = _believable(float(reset[1])) if reset else None
        if wait is not None:
            yield int(remaining[1]) if remaining else None, wait


def _separate(headers: Mapping[str, str]) -> Iterator[tuple[int | None, float]]:
    for name, value in headers.items():
        # Twitter and Okta write X-Rate-Limit-Reset.
        wait = _wait(value, headers) if _RESET_NAME.fullmatch(name.replace("rate-limit", "ratelimit")) else None
        if wait is not None:
            yield _remaining(name, headers), wait


def _remaining(reset: str, headers: Mapping[str, str]) -> int | None:
    # Discord has `x-ratelimit-reset-after` beside `x-ratelimit-remaining`.
    name = reset.removesuffix("-after").replace("reset", "remaining")
    number = _number(headers.get(name, ""))
    return None if number is None else int(number)


def _wait(value: str, headers: Mapping[str, str]) -> float | None:
    """Seconds from a number, an instant, or a duration."""
    value = value.strip()
    number = _number(value)
    if number is not None and number < _EPOCH_SECONDS:
        return _believable(number)
    if number is not None:
        return _until(number / 1000 if number >= _EPOCH_MILLISECONDS else number, headers)
    instant = _instant(value)
    return _duration(value) if instant is None else _until(instant, headers)


def _number(value: str) -> float | None:
    value = value.strip()
    return float(value) if _NUMBER.fullmatch(value) else None


def _duration(value: str) -> float | None:
    parts = _DURATION.fullmatch(value)
    if parts is None or not value:
        return None
    return _believable(sum(float(part) * unit for part, unit in zip(parts.groups("0"), _UNITS, strict=True)))


def _until(instant: float, headers: Mapping[str, str]) -> float | None:
    sent = _instant(headers.get("date", ""))
    return None if sent is None else _believable(max(0.0, instant - sent))


def _believable(wait: float) -> float | None:
    return wait if 0.0 <= wait <= _LONGEST else None


def _instant(date: str) -> float | None:
    """Seconds since 1970 of an HTTP date, or of an ISO 8601 one (Anthropic's)."""
    # Twelve milliseconds to import, and a process that meets a date has an HTTP client, which has imported it already.
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            then = read(date)
        except (TypeError, ValueError, IndexError):
            continue
        # Both mean UTC where they name no zone.
        return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()
    return None
