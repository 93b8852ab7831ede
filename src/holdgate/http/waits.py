"""How long a server asks to wait, from the headers of its answer.

Several headers say so, each in its own unit. They are tried in this order, and the first that can be read, and believed, counts:

1. `retry-after-ms`, `x-ms-retry-after-ms`, `x-amz-retry-after`: milliseconds. The finest unit comes first, as in OpenAI's own client.
2. `Retry-After`: seconds or a date (RFC 9110, 10.2.3).
3. `RateLimit` of the IETF's drafts: `"default";r=0;t=30` (from draft 8 on) or `limit=9, remaining=0, reset=30` (draft 7).
4. `RateLimit-Reset` (up to draft 6), `X-RateLimit-Reset`, `X-RateLimit-Reset-After`, `X-RateLimit-Reset-Requests`,
   `Anthropic-RateLimit-Tokens-Reset` and the like, each beside a `Remaining` of the same kind. In seconds, as an instant, or as a
   duration such as `1m30s`.

3 and 4 come with good answers, too: they give the time at which a limit is reset, which matters only if it is used up (nothing remains, or
the status is 429). If several limits are used up, the longest wait counts, because a call before that would be refused again.

No clock is read here. An instant is compared with the answer's own Date header, because this machine's clock may be wrong. Without a Date
an instant has no meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus

from holdgate.http.answers import headers_of, status_of
from holdgate.slips import passed_uncalled
from holdgate.told import LONGEST

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
# The name is a string (RFC 8941, 3.3.3) and may have anything in it, a quote behind a backslash, too.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_SEPARATE = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*"?)+')
_REMAINING = re.compile(r"(?:^|[;,\s])(?:r|remaining)=(\d+)")
_RESET = re.compile(r"(?:^|[;,\s])(?:t|reset)=(\d{1,15})")
_RESET_NAME = re.compile(r".*ratelimit-(?:.+-)?reset(?:-.+)?")


@passed_uncalled("retry_after=http.retry_after")
def retry_after(error: BaseException) -> float | None:
    """Return the seconds that the server asks to wait, from the headers of its answer. None means that it does not say.

    Reads Retry-After in seconds, as a date or in milliseconds, and otherwise the rate-limit headers of the usual APIs if a limit is used
    up. A date is compared with the answer's own Date header, without reading a clock; a date that has passed is 0.0. A value that makes no
    sense is ignored.
    """
    headers = headers_of(error)
    return wait_of(headers, status_of(error)) if headers else None


def wait_of(headers: Mapping[str, str], status: int | None) -> float | None:
    """Return the same from headers, by lower-case name, and the status. None means that neither says."""
    own = _own_wait(headers)
    if own is not None:
        return own
    is_refused = status == HTTPStatus.TOO_MANY_REQUESTS
    limits = [*_structured(headers), *_separate(headers)]
    used_up = [wait for remaining, wait in limits if remaining == 0]
    # A 429 without a limit at 0 asked for more than remains (tokens), or gives no number: wait for the first limit that is reset.
    return max(used_up) if used_up else min((wait for _, wait in limits), default=None) if is_refused else None


def _own_wait(headers: Mapping[str, str]) -> float | None:
    """Return what the server says of this answer. A header that cannot be believed hides none of those after it."""
    for name in _MILLISECONDS:
        milliseconds = _number(headers.get(name, ""))
        wait = None if milliseconds is None else _believable(milliseconds / 1000)
        if wait is not None:
            return wait
    return time_of(headers.get("retry-after", ""), headers)


def limit_of(text: str) -> tuple[int | None, float | None]:
    """Return what remains of one limit of the `RateLimit` header, and in how many seconds it is reset."""
    text = _QUOTED.sub("", text)
    reset, remaining = _RESET.search(text), _REMAINING.search(text)
    return int(remaining[1]) if remaining else None, _believable(float(reset[1])) if reset else None


def limits_in(value: str) -> list[str]:
    """Return the limits of a `RateLimit` header, one by one."""
    # From draft 8 on commas separate limits. In draft 7 there is one limit, and commas separate its parameters. Neither counts in a name.
    return _SEPARATE.findall(value) if ";" in _QUOTED.sub("", value) else [value]


def _structured(headers: Mapping[str, str]) -> Iterator[tuple[int | None, float]]:
    value = headers.get("ratelimit", "")
    for limit in limits_in(value):
        remaining, wait = limit_of(limit)
        if wait is not None:
            yield remaining, wait


def _separate(headers: Mapping[str, str]) -> Iterator[tuple[int | None, float]]:
    for name, value in headers.items():
        # Twitter and Okta write X-Rate-Limit-Reset.
        wait = time_of(value, headers) if _RESET_NAME.fullmatch(name.replace("rate-limit", "ratelimit")) else None
        if wait is not None:
            yield remaining_of(name, headers), wait


def remaining_of(reset: str, headers: Mapping[str, str]) -> int | None:
    """Return what remains of the limit whose reset is in the header of this name."""
    # Discord has `x-ratelimit-reset-after` beside `x-ratelimit-remaining`.
    name = reset.removesuffix("-after").replace("reset", "remaining")
    number = _number(headers.get(name, ""))
    return None if number is None else int(number)


def time_of(value: str, headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a number, an instant or a duration means. None means that it cannot be read."""
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
    return wait if 0.0 <= wait <= LONGEST else None


def _instant(date: str) -> float | None:
    """Return the seconds since 1970 of an HTTP date, or of an ISO 8601 date as Anthropic sends. None means that it is neither."""
    # Imported here because it takes twelve milliseconds. A process that meets a date has an HTTP client, which has imported it already.
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            then = read(date)
        except (TypeError, ValueError, IndexError):
            continue
        # Both formats mean UTC if they name no zone.
        return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()
    return None
