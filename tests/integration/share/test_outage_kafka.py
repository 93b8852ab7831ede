"""Workers on a share group of a real broker through an outage, with a guard and without one: what the ledger says of each message.

HOLDGATE_TEST_SHARE_OUTAGE says how long it lasts (seconds, 4 unless set): `make test-share-outage` has one of ten minutes. `-rP` shows the
ledgers of runs that pass.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.integration.share.run import Run, outage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.servers.kafka_address import KafkaAddress

pytestmark = [pytest.mark.versions, pytest.mark.slow]

SECONDS = float(os.environ.get("HOLDGATE_TEST_SHARE_OUTAGE", "4"))
LOCK = 15.0
SHORT_LOCK = 2.0
LIMIT = 5


@pytest.fixture
async def run(share_kafka: KafkaAddress, tmp_path: Path) -> AsyncIterator[Callable[..., Run]]:
    """Make runs on the shared broker; what is left of them ends with the test."""
    made: list[Run] = []

    def make(**settings: float) -> Run:
        made.append(Run(share_kafka, tmp_path, limit=LIMIT, **settings))
        return made[-1]

    yield make
    for each in made:
        await each.close()


async def test_an_outage_loses_nothing_and_costs_one_delivery(run) -> None:
    """Every message is handled, the dead letters are the poison, and the outage has cost each at most one of five deliveries."""
    result = await outage(run(lock=LOCK), SECONDS, messages=150, workers=1)

    print(result)
    assert result.lost == ()
    assert result.dead == result.poison
    assert result.most_deliveries <= 2


async def test_an_outage_with_a_kill_and_joins_loses_nothing(run) -> None:
    """What the killed worker had in hand has one delivery more behind it, and no message is near its limit.

    A poison message has one letter, but for one whose letter the killed worker had written, and could not tell the broker any more.
    """
    result = await outage(run(lock=LOCK), SECONDS, messages=150, kills=True)

    print(result)
    assert result.lost == ()
    assert result.dead == result.due
    assert result.most_deliveries < LIMIT


async def test_a_handler_that_waits_loses_all_it_has_in_hand(run) -> None:
    """Without a guard: after five lapsed locks everything is archived, and what comes later is handled as if nothing had been."""
    naive = run(lock=SHORT_LOCK, naive=True)
    await naive.prepare()
    naive.down.touch()
    await naive.send(4)
    await naive.start_worker("--patience", str(SHORT_LOCK + 1))

    def used_up() -> bool:
        failed = {body for _, event, body, deliveries in naive.lines() if event == "failed" and deliveries == LIMIT}
        return failed == set(naive.sent)

    assert await naive.until(used_up, 120)
    in_hand = set(naive.sent)
    naive.down.unlink()
    await naive.send(1)
    assert await naive.until(lambda: naive.sent[-1] in naive.done(), 60)

    result = await naive.result()
    assert set(result.lost) == in_hand
