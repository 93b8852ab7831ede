"""An API with limits by tenant, and one tenant for whom it is down: on any broker the others go on, and each tenant stays in order."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from tests.scenarios.brokers import in_real_time_on_every_broker
from tests.scenarios.world import QUICK, Down

from holdgate import Dependency
from holdgate.core import CircuitOpened

if TYPE_CHECKING:
    from tests.scenarios.world import World

    from holdgate import Delivery

TENANTS = 10
EACH = 20
LIMITED, BROKEN = b"t1", b"t2"
LIMITED_TO = 8  # calls in any half second


class Refused(Exception):
    """What the API says to a tenant that has called too often."""


class Api:
    """Answers in two milliseconds. `LIMITED` may call so often, and for `BROKEN` it is down until `mended` is set."""

    def __init__(self) -> None:
        self.processed: dict[bytes, list[bytes]] = defaultdict(list)
        self.wasted: Counter[bytes] = Counter()
        self.mended = asyncio.Event()
        self._let_in: list[float] = []

    async def __call__(self, delivery: Delivery[Any]) -> None:
        body = delivery.body or b""
        tenant = tenant_of(delivery)
        await asyncio.sleep(0.002)
        if tenant == BROKEN and not self.mended.is_set():
            self.wasted[tenant] += 1
            raise Down
        if tenant == LIMITED and not self._lets_in(asyncio.get_running_loop().time()):
            self.wasted[tenant] += 1
            raise Refused
        self.processed[tenant].append(body)

    def _lets_in(self, now: float) -> bool:
        self._let_in = [at for at in self._let_in if at > now - 0.5]
        if len(self._let_in) >= LIMITED_TO:
            return False
        self._let_in.append(now)
        return True

    @property
    def done(self) -> list[bytes]:
        return [body for bodies in self.processed.values() for body in bodies]

    def others_are_done(self) -> bool:
        return sum(len(bodies) for tenant, bodies in self.processed.items() if tenant not in {LIMITED, BROKEN}) == (TENANTS - 2) * EACH


def tenant_of(delivery: Delivery[Any]) -> bytes:
    return (delivery.body or b"").partition(b"-")[0]


async def _work(world: World, **settings: Any) -> Api:
    await world.produce(world.first, [b"t%d-%d" % (tenant, number) for number in range(EACH) for tenant in range(TENANTS)])
    api = Api()
    payments = Dependency("payments", failures=Down, throttled=Refused, key=tenant_of, settings=QUICK)
    async with world.working(api, needs=[payments], **settings) as guard:
        await world.until(api.others_are_done, "the other tenants were processed")
        assert guard.snapshot().dependencies["payments"].state.value == "closed"
        assert not api.processed[BROKEN]
        api.mended.set()
        await world.until(lambda: len(api.done) == TENANTS * EACH, "all was processed")
    await world.check(api.done)
    assert world.told(CircuitOpened) == []
    assert api.wasted[LIMITED] <= EACH / 2
    return api


@in_real_time_on_every_broker
async def test_tenants_wait_for_themselves_alone(world: World) -> None:
    """One is throttled, one is down: the other eight are done before either is, nothing is lost, and the whole never opens."""
    await _work(world, order="none", concurrency=16)


@in_real_time_on_every_broker
async def test_each_tenant_stays_in_its_order(world: World) -> None:
    """With order="key" by tenant: its messages come in their order, however often the first of them was refused."""
    api = await _work(world, order="key", key=tenant_of, concurrency=16)
    for tenant in range(TENANTS):
        assert api.processed[b"t%d" % tenant] == [b"t%d-%d" % (tenant, number) for number in range(EACH)]
