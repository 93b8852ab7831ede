"""The terms of one share group: how long a record is locked, how often it is delivered, and what of that would hurt.

A record that is in hand is *locked* for the group's lock duration. When the lock ends, the record goes to the next member that asks. Each
delivery is counted, whatever ended the last one: a handler's failure, a release, a lapsed lock, a closed consumer. After `limit` deliveries
the broker archives the record, and says so to nobody; or it copies the record to the group's dead letter topic, if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdgate.core.validation import count, seconds
from holdgate.errors import SettingsError

# What a broker has where nobody has set anything, by its describe_configs (Kafka 4.4). For a user who may not ask.
_LOCK = 30.0
_LIMIT = 5
# So much of the lock is left when records go back: handlers have half of it to end, and the rest is for the broker's answer.
_MARGIN = 0.25
_MARGIN_AT_MOST = 10.0
# So many records go back one by one: a group seldom has more workers that have nothing to do.
_ONE_BY_ONE = 16
# Seconds between two of them: a consumer that waits for records has the first by then, and asks for no other while that is in hand.
_APART = 0.1
# So much of the margin is left for the broker's answer to the last of them, and to what has waited for a letter.
_ANSWER = 0.25

_LOCK_SETTING = "share.record.lock.duration.ms"
_LIMIT_SETTING = "share.delivery.count.limit"
_RESET_SETTING = "share.auto.offset.reset"
_DEAD_LETTERS_SETTING = "errors.deadletterqueue.topic.name"


@dataclass(frozen=True, slots=True)
class ShareTerms:
    """The terms of one group. `lock` is in seconds, `limit` is how often a record is delivered at most.

    `known` says whether the broker named them; otherwise they are its usual ones. `skips_old` says whether a new group sees only what comes
    later. `dead_letters` is the group's dead letter topic at the broker, empty where there is none. `has_overflow` says whether records
    near the limit have another topic to go to.
    """

    group: str
    lock: float = _LOCK
    limit: int = _LIMIT
    known: bool = False
    skips_old: bool = True
    dead_letters: str = ""
    has_overflow: bool = False

    @property
    def margin(self) -> float:
        """How many seconds before the end of their lock records go back."""
        return min(self.lock * _MARGIN, _MARGIN_AT_MOST)

    @property
    def patience(self) -> float:
        """How many seconds a record may stay in hand."""
        return self.lock - self.margin

    @property
    def answer(self) -> float:
        """How many seconds before the end of a lock the last call must be made, so that the broker's answer comes in time."""
        return self.margin * _ANSWER

    def is_near_limit(self, deliveries: int) -> bool:
        """Return whether a record with so many deliveries should go elsewhere instead of back.

        With an overflow that is before its last delivery. Without one it is when the last delivery is being used up.
        """
        return deliveries >= self.limit - self.has_overflow

    def portions(self, count: int, left: float) -> list[tuple[int, float]]:
        """Return how `count` records go back in an outage, `left` seconds before their lock ends: how many, and the seconds to wait then.

        Each worker that does not know of the outage yet takes what it can have, fails with it, and so uses up another delivery of it: of
        everything, if everything is there. So the first go back one by one, each to another of these workers. Then all of them know.
        """
        apart = min(_APART, max(0.0, left - self.answer) / _ONE_BY_ONE)
        singles = min(count, _ONE_BY_ONE)
        return [(1, apart)] * singles + [(count - singles, 0.0)] * (count > singles)

    def cost(self) -> str:
        """Return what an outage costs consumers of the group that have no guard."""
        return (
            f"it locks a record for {self.lock:g} s and delivers it {self.limit} times: a consumer whose handler waits until "
            f"its records are taken back loses them after {self.lock * self.limit:g} s, and one that releases them at each failure, "
            "within a second"
        )

    def risks(self) -> list[str]:
        """Return what may surprise later, each with its remedy."""
        found: list[str] = []
        if not self.known:
            found.append(
                f"its settings could not be read, so a lock of {self.lock:g} s and {self.limit} deliveries are assumed: allow this user to "
                "DESCRIBE_CONFIGS of the group, or give record_lock= and delivery_limit="
            )
        elif self.skips_old:
            found.append(
                f"it begins with what comes after its first start ({_RESET_SETTING}=latest): what waits in the topic then is never read; "
                f"set {_RESET_SETTING}=earliest for the group if that is not meant"
            )
        if not self.dead_letters and not self.has_overflow:
            found.append(
                f"a record is archived after {self.limit} deliveries, without an error: give the intake "
                'overflow=KafkaDeadLetters(producer, "{topic}.overflow"), or set '
                f"{_DEAD_LETTERS_SETTING} for the group (from Kafka 4.4 on)"
            )
        return found

    def slow_handlers(self, longest: float | None) -> str | None:
        """Return what a handler of `longest` seconds means here. None means that it is quick enough, or that its time is not known."""
        if longest is None or longest < self.patience:
            return None
        return (
            f"a handler may take {longest:g} s, but {self.patience:g} s after the poll its record goes back and the handler is "
            f"interrupted, {self.limit} times: raise {_LOCK_SETTING} of the group, or give guard.run a "
            "shorter timeout="
        )


@dataclass(frozen=True, slots=True)
class ShareDiagnosis:
    """Something that would hurt in an outage.

    `about` is the share group, or a topic. `text` says why, and the remedy. `refused` says whether a run refuses to start because of it.
    `cost` says whether it is what an outage costs without a guard, and no defect.
    """

    about: str
    text: str
    refused: bool = False
    cost: bool = False


def derive_terms(
    group: str, found: Mapping[str, str], *, record_lock: float | None, delivery_limit: int | None, has_overflow: bool
) -> ShareTerms:
    """Return the terms: a setting wins over what the broker says, and that wins over what is usual."""
    lock = found.get(_LOCK_SETTING)
    limit = found.get(_LIMIT_SETTING)
    return ShareTerms(
        group,
        lock=record_lock or (_LOCK if lock is None else int(lock) / 1000),
        limit=delivery_limit or (_LIMIT if limit is None else int(limit)),
        known=(lock is not None or record_lock is not None) and (limit is not None or delivery_limit is not None),
        skips_old=found.get(_RESET_SETTING, "latest") == "latest",
        dead_letters=found.get(_DEAD_LETTERS_SETTING, ""),
        has_overflow=has_overflow,
    )


def check_settings(settings: Mapping[str, Any]) -> str:
    """Return the group of a share consumer's settings. Raises SettingsError for settings with which a guard could not hold."""
    for name in ("bootstrap.servers", "group.id"):
        if not settings.get(name):
            raise SettingsError(f'the settings of a share consumer must have "{name}": ShareIntake({{"{name}": ...}}, "orders")')
    mode = settings.get("share.acknowledgement.mode", "explicit")
    if mode != "explicit":
        raise SettingsError(
            f'share.acknowledgement.mode must be "explicit", got {mode!r}: otherwise each poll accepts what is still in work; remove it'
        )
    if "max.poll.records" in settings:
        raise SettingsError(
            "max.poll.records must be given as in_hand=, since the guard bounds its inbox by it: ShareIntake(..., in_hand=20)"
        )
    return str(settings["group.id"])


def check_topics(topics: tuple[object, ...]) -> None:
    """Refuse invalid topic names. Raises SettingsError."""
    if not topics or not all(isinstance(name, str) and name for name in topics):
        raise SettingsError(f'topics must be names, at least one, got {topics!r}: ShareIntake(settings, "orders", "mails")')
    twice = sorted({str(name) for name in topics if topics.count(name) > 1})
    if twice:
        raise SettingsError(f"each topic must be named once, got twice: {', '.join(map(repr, twice))}")


def check_lock(record_lock: object) -> float | None:
    """Return the lock duration in seconds. None means that the broker is asked. Raises SettingsError."""
    return None if record_lock is None else seconds("record_lock", record_lock)


def check_limit(delivery_limit: object) -> int | None:
    """Return the delivery limit. None means that the broker is asked. Raises SettingsError."""
    return None if delivery_limit is None else count("delivery_limit", delivery_limit)
