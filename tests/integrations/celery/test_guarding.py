"""Celery workers under a guard, in processes of their own, on a real RabbitMQ."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

pytest.importorskip("celery", reason="celery is not installed: pip install 'holdgate[celery]'")

from tests.integrations.celery.shop import PATIENCE, PREFETCH, Shop, until
from tests.servers.ports import release_port, reserve_port
from tests.servers.rabbitmq_address import QUORUM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.servers.rabbitmq import RabbitMQServer
    from tests.servers.rabbitmq_address import RabbitMQAddress

    MakeQueue = Callable[..., Awaitable[str]]

pytestmark = [pytest.mark.long_file]

# Two processes with the default multiplier.
IN_HAND = 2 * PREFETCH
# Seconds. A quorum queue that is younger may be lost by a kill.
GROWN_UP = 4.0


@pytest.mark.parametrize(
    ("pool", "arguments"),
    [("prefork", None), ("prefork", QUORUM), ("threads", QUORUM), ("solo", None)],
    ids=["prefork-classic", "prefork-quorum", "threads-quorum", "solo-classic"],
)
async def test_an_outage_holds_within_the_prefetch(
    rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path, pool: str, arguments: Any
) -> None:
    """The prefetch waits in the worker and the rest in the queue, few calls are made, and every task is done once, in order."""
    orders = await queue(arguments)
    count = 40
    in_hand = PREFETCH if pool == "solo" else IN_HAND
    with Shop(rabbitmq.url, orders, tmp_path, arguments=arguments, quick=False) as shop:
        shop.put("down")
        shop.send(count)
        shop.work("--pool", pool, *(["-c", "1"] if pool == "solo" else []))
        await shop.opened()
        await rabbitmq.becomes(orders, ready=count - in_hand)
        await until(lambda: len(shop.files.lines("calls")) > 6)  # a probe has come and gone
        assert len(shop.files.lines("calls")) <= 26
        assert shop.files.lines("done") == []
        shop.take("down")
        await shop.done(count)
        held = shop.files.numbers("done")
    assert sorted(held) == list(range(count))
    if pool == "solo":  # of two that run at the same time either may end first
        behind = [n for n in held if n >= in_hand]  # those that were not tried
        assert behind == sorted(behind)
    assert await rabbitmq.waiting_once_free(orders) == []


async def test_a_worker_without_a_guard_loses_what_an_outage_meets(rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path) -> None:
    """What the guard is for: Celery acks a task that fails, acks_late or not."""
    orders = await queue()
    with Shop(rabbitmq.url, orders, tmp_path) as shop:
        shop.put("down")
        shop.send(30)
        shop.work(guarded=False)
        await until(lambda: len(shop.files.lines("calls")) == 30)
        await rabbitmq.becomes(orders, ready=0)
        assert shop.files.lines("done") == []


async def test_a_held_worker_uses_no_processor(rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path) -> None:
    """Tasks that wait have no timers of their own: a hold costs less than a fiftieth of one processor, once the worker has come to rest."""
    orders = await queue()
    with Shop(rabbitmq.url, orders, tmp_path, quick=False) as shop:
        shop.put("down")
        shop.send(30)
        worker = shop.work()
        await shop.opened()
        await rabbitmq.becomes(orders, ready=30 - IN_HAND)
        give_up, share = _seconds() + PATIENCE, 1.0
        while share >= 0.02:
            assert _seconds() < give_up, f"it never rests: {share:.2%}"
            before, begun = _used(worker.pid), _seconds()
            await asyncio.sleep(5.0)
            share = (_used(worker.pid) - before) / (_seconds() - begun)


async def test_a_kill_in_an_outage_loses_nothing(rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path) -> None:
    """A worker that is killed while it holds has acked nothing, and the next one does every task."""
    orders = await queue(QUORUM)
    with Shop(rabbitmq.url, orders, tmp_path, arguments=QUORUM) as shop:
        shop.put("down")
        shop.send(20)
        worker = shop.work()
        await shop.opened()
        await rabbitmq.becomes(orders, ready=20 - IN_HAND)
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        await rabbitmq.becomes(orders, ready=20)
        shop.take("down")
        shop.work()
        await shop.done(20)
    assert sorted(shop.files.numbers("done")) == list(range(20))
    assert await rabbitmq.waiting_once_free(orders) == []


@pytest.mark.parametrize("pool", ["prefork", "threads"])
async def test_a_warm_shutdown_in_a_hold_gives_everything_back(
    rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path, pool: str
) -> None:
    """SIGTERM waits for what runs and not for what is held, which is in the queue again."""
    orders = await queue()
    with Shop(rabbitmq.url, orders, tmp_path) as shop:
        shop.put("down")
        shop.send(20)
        worker = shop.work("--pool", pool)
        await shop.opened()
        await rabbitmq.becomes(orders, ready=20 - IN_HAND)
        worker.send_signal(signal.SIGTERM)
        assert await shop.ended(worker) == 0
        await rabbitmq.becomes(orders, ready=20, consumers=0)
        assert "has not ended" not in shop.log


async def test_a_warm_shutdown_waits_for_a_task_and_acks_it(rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path) -> None:
    """What runs when SIGTERM comes is done once."""
    orders = await queue()
    with Shop(rabbitmq.url, orders, tmp_path) as shop:
        shop.put("slow", 2.0)
        shop.send(2)
        worker = shop.work()
        await until(lambda: len(shop.files.lines("calls")) == 2)
        worker.send_signal(signal.SIGTERM)
        assert await shop.ended(worker) == 0
        assert sorted(shop.files.numbers("done")) == [0, 1]
        await rabbitmq.becomes(orders, ready=0, consumers=0)


async def test_a_cold_shutdown_in_a_hold_ends(rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path) -> None:
    """SIGQUIT ends the worker, the guard's thread does not keep it, and everything is in the queue again."""
    orders = await queue()
    with Shop(rabbitmq.url, orders, tmp_path) as shop:
        shop.put("down")
        shop.send(20)
        worker = shop.work()
        await shop.opened()
        await rabbitmq.becomes(orders, ready=20 - IN_HAND)
        worker.send_signal(signal.SIGQUIT)
        await shop.ended(worker)
        await rabbitmq.becomes(orders, ready=20, consumers=0)


@pytest.mark.parametrize("task", ["autoretry", "by_hand"])
async def test_an_outage_spends_no_retry_of_a_task(rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path, task: str) -> None:
    """A task with max_retries=1 lives through any number of probes, and its message is never replaced by a copy."""
    orders = await queue()
    with Shop(rabbitmq.url, orders, tmp_path, needs=[task]) as shop:
        shop.put("down")
        shop.send(3, task)
        shop.work()
        await until(lambda: len(shop.files.lines("calls")) >= 8)
        shop.take("down")
        await shop.done(3)
        assert set(shop.files.lines("retries")) <= {"0"}
    assert sorted(shop.files.numbers("done")) == [0, 1, 2]
    assert await rabbitmq.waiting_once_free(orders) == []


async def test_a_tasks_own_failure_is_celerys(rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path) -> None:
    """It fails at its first attempt and is acked, as without a guard, and holds nobody."""
    orders = await queue()
    with Shop(rabbitmq.url, orders, tmp_path, needs=["charge", "wrong"], failures=True) as shop:
        shop.send(3, "wrong")
        shop.send(3)
        shop.work()
        await shop.done(3)
        await rabbitmq.becomes(orders, ready=0)
        await until(lambda: shop.log.count("raised unexpected: ValueError") == 3)
        assert "CircuitOpened" not in shop.files.lines("events")
        assert len(shop.files.lines("calls")) == 6


async def test_a_task_that_alone_fails_is_given_up(rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path) -> None:
    """While others succeed it is not the dependency: after its attempts it fails as Celery's tasks do, here into the dead letters."""
    dead = await queue()
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    orders = await queue(arguments)
    conf = {"task_acks_on_failure_or_timeout": False}
    with Shop(rabbitmq.url, orders, tmp_path, arguments=arguments, conf=conf) as shop:
        shop.put("bad", 1)
        shop.work()
        shop.send(60)
        await shop.done(59)
        first = 60
        while (await rabbitmq.depth(dead))[0] == 0:
            shop.send(5, first=first)
            first += 5
            await shop.done(first - 1)
    assert 1 not in shop.files.numbers("done")
    assert len(await rabbitmq.waiting(dead)) == 1


async def test_other_tasks_of_the_worker_go_on(rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path) -> None:
    """A task without needs runs while others are held, as far as the prefetch has room for it."""
    orders = await queue()
    with Shop(rabbitmq.url, orders, tmp_path) as shop:
        shop.put("down")
        shop.send(IN_HAND - 2)
        shop.work()
        await shop.opened()
        shop.send(20, "mail")
        await until(lambda: len(shop.files.lines("mails")) == 20)
        assert shop.files.lines("done") == []


async def test_needs_may_stand_at_the_task(rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path) -> None:
    """`@app.task(needs=[...])` is enough."""
    orders = await queue()
    with Shop(rabbitmq.url, orders, tmp_path, needs="said") as shop:
        shop.put("down")
        shop.send(6, "said")
        shop.work()
        await shop.opened()
        shop.take("down")
        await shop.done(6)


async def test_needs_may_depend_on_the_task_in_hand(rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path) -> None:
    """A function says for each task what it needs: the odd ones are held, and the even ones, which need nothing, fail as Celery's."""
    orders = await queue()
    with Shop(rabbitmq.url, orders, tmp_path, needs="function") as shop:
        shop.put("down")
        shop.send(8)
        shop.work()
        await shop.opened()
        await until(lambda: shop.log.count("raised unexpected: ConnectionError") == 4)
        shop.take("down")
        await shop.done(4)
    assert sorted(shop.files.numbers("done")) == [1, 3, 5, 7]


async def test_what_is_held_goes_back_before_the_consumer_timeout(rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path) -> None:
    """The queue is cancelled, everything is in it again, and it is taken again when a task may be tried."""
    orders = await queue(QUORUM)
    with Shop(rabbitmq.url, orders, tmp_path, arguments=QUORUM, consumer_timeout=2.0, quick=False) as shop:
        shop.put("down")
        shop.send(20)
        shop.work()
        await shop.opened()
        await rabbitmq.becomes(orders, ready=20, consumers=0)
        shop.take("down")
        await shop.done(20)
    assert sorted(set(shop.files.numbers("done"))) == list(range(20))
    assert "go back, before the consumer timeout" in shop.log
    assert await rabbitmq.waiting_once_free(orders) == []


async def test_too_many_calls_hold_tasks_and_open_nothing(rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path) -> None:
    """A 429 is no failure: the task waits in its place, and the circuit stays closed."""
    orders = await queue()
    with Shop(rabbitmq.url, orders, tmp_path) as shop:
        shop.put("throttled")
        shop.send(10)
        shop.work()
        await until(lambda: len(shop.files.lines("calls")) >= 4)
        shop.take("throttled")
        await shop.done(10)
        assert "CircuitOpened" not in shop.files.lines("events")
    assert sorted(shop.files.numbers("done")) == list(range(10))
    assert await rabbitmq.waiting_once_free(orders) == []


async def test_a_hard_time_limit_is_a_failure_of_what_the_task_waited_for(
    rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path
) -> None:
    """Its process is killed, and the task waits for its next start instead of being acked."""
    orders = await queue()
    with Shop(rabbitmq.url, orders, tmp_path, charge={"time_limit": 1}) as shop:
        shop.put("slow", 30.0)
        shop.send(2)
        shop.work()
        await until(lambda: len(shop.files.lines("calls")) >= 3)
        shop.take("slow")
        await shop.done(2)
    assert await rabbitmq.waiting_once_free(orders) == []


async def test_tasks_with_an_eta_are_held_too(rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path) -> None:
    """A countdown that ends in an outage waits with the others."""
    orders = await queue()
    with Shop(rabbitmq.url, orders, tmp_path) as shop:
        shop.put("down")
        shop.send(6)
        shop.send(3, first=6, countdown=1)
        shop.work()
        await shop.opened()
        shop.take("down")
        await shop.done(9)
    assert sorted(shop.files.numbers("done")) == list(range(9))
    assert await rabbitmq.waiting_once_free(orders) == []


def _used(pid: int) -> float:
    """Return the seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _seconds() -> float:
    return time.monotonic()


async def test_the_guard_of_a_worker_can_be_asked_and_its_pool_processes_do_not_keep_its_port(
    rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path
) -> None:
    """The control answers while tasks are held. Processes that are forked beside it inherit nothing that is open."""
    orders = await queue()
    port = reserve_port()
    conf = {"worker_max_tasks_per_child": 1}
    with Shop(rabbitmq.url, orders, tmp_path, control=port, conf=conf) as shop:
        shop.send(6)
        worker = shop.work()
        await shop.done(6)  # each by a process of its own: those were forked after the guard had begun
        shop.put("down")
        shop.send(6, first=6)
        await shop.opened()
        status = await asyncio.to_thread(_read, f"http://127.0.0.1:{port}/status")
        assert '"payments"' in status
        listening = _listening(port)
        assert listening in _sockets(worker.pid)

        def kept_by_none() -> bool:
            """Each probe ends its process: there may be none for a moment, and one that has just been forked still closes its files."""
            opened = [_sockets(child) for child in _children(worker.pid)]
            return bool(opened) and all(opened) and not any(listening in each for each in opened)

        await until(kept_by_none)
    release_port(port)


async def test_a_broker_that_restarts_in_a_hold_hands_everything_out_again(fresh_rabbitmq: RabbitMQServer, tmp_path: Path) -> None:
    """What was held over the lost connection is forgotten, and every task is done by the same worker."""
    orders = await fresh_rabbitmq.declare("orders", QUORUM)
    with Shop(fresh_rabbitmq.url, orders, tmp_path, arguments=QUORUM) as shop:
        shop.put("down")
        shop.send(12)
        shop.work()
        await shop.opened()
        await fresh_rabbitmq.becomes(orders, ready=12 - IN_HAND)
        await asyncio.sleep(GROWN_UP)
        fresh_rabbitmq.kill()
        await fresh_rabbitmq.start()
        await fresh_rabbitmq.becomes(orders, consumers=1)
        shop.take("down")
        await shop.done(12)
        await fresh_rabbitmq.becomes(orders, ready=0)
    assert set(shop.files.numbers("done")) == set(range(12))


async def test_a_task_that_is_revoked_while_it_is_held_does_not_run(rabbitmq: RabbitMQAddress, queue: MakeQueue, tmp_path: Path) -> None:
    """It is discarded when it would start, and its place in the ramp is the next one's."""
    orders = await queue()
    with Shop(rabbitmq.url, orders, tmp_path) as shop:
        shop.put("down")
        shop.send(4)
        shop.work()
        await shop.opened()
        shop.app.tasks["charge"].apply_async((99,), task_id="revoked")
        await until(lambda: "charge[revoked] received" in shop.log)
        shop.app.control.revoke("revoked")
        await until(lambda: "Tasks flagged as revoked: revoked" in shop.log)
        shop.take("down")
        await shop.done(4)
        await until(lambda: "Discarding revoked task: charge[revoked]" in shop.log)
        shop.send(4, first=4)
        await shop.done(8)
    assert 99 not in shop.files.numbers("calls")
    assert await rabbitmq.waiting_once_free(orders) == []


def _read(url: str) -> str:
    with urlopen(url, timeout=20) as answer:  # noqa: S310 - our own
        text: str = answer.read().decode()
        return text


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _sockets(pid: int) -> set[str]:
    """Return what a process has open, sockets by their inodes. Nothing if it has ended."""
    found: set[str] = set()
    with suppress(FileNotFoundError):  # the process has ended
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.add(str(descriptor.readlink()))
    return found


def _listening(port: int) -> str:
    """Return the socket that listens on a port, by its inode."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{port:04X}") and fields[3] == "0A":
            return f"socket:[{fields[9]}]"
    raise AssertionError(f"nothing listens on {port}")
