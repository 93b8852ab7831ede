"""Durations, ratios and sizes as people write them: `"30s"`, `"1m30s"`, `"50%"`, `"64MiB"`. Which setting is which is known by its name."""

from __future__ import annotations

import re
from typing import Literal

Unit = Literal["duration", "ratio", "size"]

# One list for every table: a name means the same everywhere. tests/config/test_units.py finds a number that is in none of them.
_DURATIONS = frozenset({
    # circuit, window, ramp
    "slow_call_duration", "open_duration", "open_duration_max", "healthy_interval", "retry_after_max", "permit_lease", "seconds",
    "stage_timeout", "stage_per_relapse",
    # retry, run, guard, dependency, fleet
    "initial_backoff", "max_backoff", "timeout", "fallback_after", "drain_timeout", "hold_warn_after", "stall_after", "backlog_every",
    "repeat_every", "work_every", "probe_timeout", "per", "silence",
    # intakes
    "commit_every", "poll_timeout", "record_lock",
    # scenarios of the laboratory
    "at", "until", "latency", "down", "up", "sample_every", "session_timeout", "rebalance_timeout",
})  # fmt: skip
_RATIOS = frozenset({
    "failure_rate_threshold", "slow_call_rate_threshold", "open_share", "open_jitter", "bad_rate", "jitter",
    "ratio", "spread", "poison_ratio",
})  # fmt: skip
_SIZES = frozenset({"memory"})

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"(\d+(?:\.\d+)?)(ms|s|m|h|d)"
_DURATION = re.compile(rf"(?:{_PART})+")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%")
_SIZE = re.compile(r"(\d+) ?([kKMGT]i?)?B")
_THOUSANDS = {"k": 1, "K": 1, "M": 2, "G": 3, "T": 4}

# What people write instead, to be answered with what is right.
_SPOKEN = re.compile(r"(\d+(?:[.,]\d+)?)\s*([A-Za-z]+)")
_WORDS = {
    "ms": "ms", "msec": "ms", "milli": "ms", "s": "s", "sec": "s", "second": "s", "m": "m", "min": "m", "minute": "m", "h": "h", "hr": "h",
    "hour": "h", "d": "d", "day": "d",
}  # fmt: skip

EXAMPLES: dict[Unit, str] = {
    "duration": 'seconds, or a text such as "30s" or "5m"',
    "ratio": 'a ratio such as 0.5, or a text such as "50%"',
    "size": 'bytes, or a text such as "64MiB"',
}


def unit_of(name: object) -> Unit | None:
    """Return what the setting of this name is. None means that it is neither, or no number."""
    if name in _DURATIONS:
        return "duration"
    if name in _RATIOS:
        return "ratio"
    return "size" if name in _SIZES else None


def read(unit: Unit, text: str) -> float | None:
    """Return the number that the text means: seconds, a ratio, or bytes. None means that it means none."""
    return {"duration": _seconds, "ratio": _ratio, "size": _bytes}[unit](text.strip())


def suggestion(unit: Unit, text: str) -> str:
    """Return what to write instead of a text that means nothing, as the end of a sentence, or ''."""
    spoken = _SPOKEN.fullmatch(text.strip())
    if unit != "duration" or spoken is None:
        return ""
    word = spoken[2].lower()
    short = _WORDS.get(word, _WORDS.get(word.removesuffix("s")))
    return "" if short is None else f'; write "{spoken[1].replace(",", ".")}{short}"'


def _seconds(text: str) -> float | None:
    if not _DURATION.fullmatch(text):
        return None
    return float(sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_PART, text)))


def _ratio(text: str) -> float | None:
    found = _PERCENT.fullmatch(text)
    return None if found is None else float(found[1]) / 100


def _bytes(text: str) -> float | None:
    found = _SIZE.fullmatch(text)
    if found is None:
        return None
    prefix = found[2] or ""
    factor: int = (1024 if prefix.endswith("i") else 1000) ** _THOUSANDS.get(prefix[:1], 0)
    return int(found[1]) * factor
