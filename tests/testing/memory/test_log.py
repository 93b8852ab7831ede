"""Log: offsets, gaps and reading."""

from __future__ import annotations

import pytest

from holdgate.testing.memory.models import Log

NOW = 12.5


def log_of(*bodies: bytes) -> Log:
    log = Log()
    for body in bodies:
        log.append(body, NOW)
    return log


def offsets(log: Log, position: int, limit: int = 100) -> list[int]:
    return [message.position for message in log.read(position, limit)]


def test_messages_get_consecutive_offsets() -> None:
    """From 0 on, and the end is the offset of the next one."""
    log = log_of(b"a", b"b")

    assert (offsets(log, 0), log.start, log.end) == ([0, 1], 0, 2)


def test_a_message_is_stored_as_it_was_produced() -> None:
    """Body, key, headers and time."""
    message = Log().append(b"body", NOW, key=b"key", headers={"trace": b"1"})

    assert (message.body, message.key, dict(message.headers), message.timestamp) == (b"body", b"key", {"trace": b"1"}, NOW)


def test_skipped_places_are_a_gap() -> None:
    """A transaction's marker uses up an offset that nobody reads."""
    log = log_of(b"a")
    log.skip(2)
    log.append(b"b", NOW)
    log.skip()

    assert (offsets(log, 0), log.end, log.count_from(0)) == ([0, 3], 5, 2)


def test_compaction_keeps_the_newest_of_each_key() -> None:
    """Older ones leave gaps, and what has no key stays."""
    log = Log()
    for key in (b"x", b"y", None, b"x", None):
        log.append(b"body", NOW, key=key)
    log.compact()

    assert offsets(log, 0) == [1, 2, 3, 4]


def test_retention_moves_the_start() -> None:
    """What lies before it is gone."""
    log = log_of(b"a", b"b", b"c")
    log.trim(2)

    assert (log.start, log.end, offsets(log, 0)) == (2, 3, [2])


@pytest.mark.parametrize(("trims", "start"), [((1, 0), 1), ((99,), 3)])
def test_the_start_never_goes_back_nor_past_the_end(trims: tuple[int, ...], start: int) -> None:
    """Retention only deletes, and only what there is."""
    log = log_of(b"a", b"b", b"c")
    for trim in trims:
        log.trim(trim)

    assert log.start == start


@pytest.mark.parametrize(("position", "limit", "read"), [(0, 2, [0, 1]), (1, 2, [1, 4]), (2, 9, [4, 5]), (6, 9, []), (0, 0, [])])
def test_reading_begins_at_the_position_and_skips_gaps(position: int, limit: int, read: list[int]) -> None:
    """At most `limit` messages that are there, however far their offsets lie apart."""
    log = log_of(b"a", b"b")
    log.skip(2)
    log.append(b"c", NOW)
    log.append(b"d", NOW)

    assert offsets(log, position, limit) == read


def test_counting_counts_messages_and_not_offsets() -> None:
    """From a position inside a gap on, there is one."""
    log = log_of(b"a")
    log.skip(5)
    log.append(b"b", NOW)

    assert (log.count_from(0), log.count_from(3), log.count_from(7)) == (2, 1, 0)
