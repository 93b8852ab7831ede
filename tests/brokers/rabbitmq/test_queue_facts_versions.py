from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from holdgate.brokers.rabbitmq.client import parse_version
from holdgate.brokers.rabbitmq.queue_facts import rules_for

if TYPE_CHECKING:
    from holdgate.brokers.rabbitmq.queue_facts import Counts, Kind

VERSIONS = ((3, 10), (4, 0), (4, 3))


@pytest.mark.parametrize(
    ("text", "version"), [("3.10.8", (3, 10)), ("4.3.6", (4, 3)), ("4.0.0-rc.1", (4, 0)), (None, (0, 0)), ("x", (0, 0))]
)
def test_a_version_is_read(text: object, version: tuple[int, int]) -> None:
    """Major and minor; what is no version has the oldest rules."""
    assert parse_version(text) == version


@pytest.mark.parametrize("version", [(4, 3), (4, 4), (5, 0)])
def test_from_43_on_a_quorum_queue_takes_nacks_uncounted(version: tuple[int, int]) -> None:
    """Such a queue times out exactly, and drops after twenty returns."""
    rules = rules_for(version, "quorum")
    assert (rules.nacks_back, rules.times_out, rules.delivery_limit) == (True, True, 20)


def test_from_43_on_a_classic_queue_takes_nothing_back() -> None:
    """Nothing has to go back."""
    assert not rules_for((4, 3), "classic").times_out


@pytest.mark.parametrize("version", [(4, 0), (4, 1), (4, 2)])
def test_40_has_a_limit_that_nobody_set(version: tuple[int, int]) -> None:
    """On quorum queues; nacks count, so messages go back with their channel."""
    assert (rules_for(version, "quorum").nacks_back, rules_for(version, "quorum").delivery_limit) == (False, 20)
    assert rules_for(version, "classic").delivery_limit is None


@pytest.mark.parametrize("version", [(3, 8), (3, 10), (3, 13), (0, 0)])
def test_before_40_there_is_none(version: tuple[int, int]) -> None:
    """Both types time out."""
    for kind in ("quorum", "classic"):
        rules = rules_for(version, kind)
        assert (rules.nacks_back, rules.times_out, rules.delivery_limit) == (False, True, None)


@pytest.mark.parametrize(
    ("version", "kind", "counts"),
    [
        ((3, 10), "quorum", "returns"),
        ((4, 0), "quorum", "returns"),
        ((4, 3), "quorum", "failures"),
        ((4, 3), "classic", "nothing"),
        ((4, 0), None, "returns"),
        ((4, 3), None, "failures"),
    ],
)
def test_what_is_counted(version: tuple[int, int], kind: Kind | None, counts: Counts) -> None:
    """Every return, or from 4.3 on the failures; nothing on a classic queue, and on an unknown one what a quorum queue would count."""
    assert rules_for(version, kind).counts == counts


def test_what_43_brought() -> None:
    """On quorum queues: a consumer's own timeout, and delays; a limit of -1 is none since 4.0, and 0 before."""
    assert [(rules.own_timeouts, rules.delays, rules.unlimited) for rules in (rules_for(version, "quorum") for version in VERSIONS)] == [
        (False, False, False),
        (False, False, True),
        (True, True, True),
    ]
    assert not rules_for((4, 3), "classic").delays


def test_an_unknown_type_has_rules_that_suit_both() -> None:
    """Closing the channel keeps the order everywhere."""
    rules = rules_for((4, 3), None)
    assert (rules.nacks_back, rules.times_out) == (False, True)


def test_the_margin() -> None:
    """Two minutes where the broker looks once a minute, ten seconds where it is exact; a quarter of a short timeout."""
    assert rules_for((3, 10), "quorum").margin(1800) == 120
    assert rules_for((4, 3), "quorum").margin(1800) == 10
    assert rules_for((3, 10), "quorum").margin(60) == 15
    assert rules_for((4, 3), "quorum").margin(8) == 2
