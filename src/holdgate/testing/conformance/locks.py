"""Cases about messages that are locked while they are in hand, and of which each delivery is counted: an outage must cost at most one."""

from __future__ import annotations

from holdgate.testing.conformance.kit import IntakeBed, case, expect, expect_equal, numbered, station

# So many locks a hold lasts: in a group of five deliveries that is half of what a message has.
_LOCKS = 2.5


async def a_short_hold_costs_no_delivery(bed: IntakeBed) -> None:
    """What is in hand stays there while its lock lasts, and is handled then."""
    source = bed.sources[0]
    await bed.produce(source, numbered(3))
    async with station(bed) as at:
        deliveries = await at.take(source, 3)
        at.hold(source)
        await at.for_a_while(bed.lock / 5)
        at.admit(source)
        at.ack(deliveries)
        await at.intake.flush()
        expect_equal(at.listener.count("revoked"), 0, "a hold that is shorter than the lock takes nothing away")
    expect_equal(await bed.left(source), [], "what was in hand in a short hold can be settled after it")


async def a_long_hold_costs_one_delivery(bed: IntakeBed) -> None:
    """Messages go back once, before their lock ends, and then stay at the broker for as long as the hold lasts."""
    source = bed.sources[0]
    await bed.produce(source, numbered(3))
    async with station(bed) as at:
        await at.take(source, 3)
        at.hold(source)
        await at.for_a_while(bed.lock * _LOCKS)
        expect_equal(at.listener.count("revoked"), 1, "messages go back once in a hold")
    expect_equal(await bed.deliveries(source), dict.fromkeys(numbered(3), 1), "a hold costs the delivery that there was before it")


async def a_probe_that_fails_costs_no_delivery(bed: IntakeBed) -> None:
    """What is handed out after such a hold is a copy: it may be tried again and again, and the broker counts none of it."""
    source = bed.sources[0]
    await bed.produce(source, numbered(3))
    async with station(bed) as at:
        await at.take(source, 3)
        for _ in range(2):
            at.hold(source)
            await at.for_a_while(bed.lock * _LOCKS / 2)
            at.admit(source)
            await at.take(source, 4)
        at.hold(source)
        expect({delivery.body for delivery in at.of(source)} <= set(numbered(3)), "a probe gets one of the messages that went back")
    expect_equal(await bed.deliveries(source), dict.fromkeys(numbered(3), 1), "a probe that fails costs nothing")


async def what_probes_have_settled_does_not_come_again(bed: IntakeBed) -> None:
    """Two that are settled after each other end the probing: the others come from the broker."""
    source = bed.sources[0]
    await bed.produce(source, numbered(6))
    async with station(bed) as at:
        await at.take(source, 6)
        at.hold(source)
        await at.for_a_while(bed.lock)
        at.admit(source)
        probes = (await at.take(source, 8))[6:8]
        at.ack(probes)
        before = len(at.of(source))
        handled = {delivery.body for delivery in probes}
        others = set(numbered(6)) - handled
        await at.until(lambda: {delivery.body for delivery in at.of(source)[before:]} >= others, "the others came from the broker")
        await at.intake.flush()
        fresh = at.of(source)[before:]
        expect_equal([delivery for delivery in fresh if delivery.body in handled], [], "what probes have settled does not come again")
        at.ack(fresh)
        await at.intake.flush()
    expect_equal(await bed.left(source), [], "everything is settled")


async def what_takes_longer_than_its_lock_comes_again(bed: IntakeBed) -> None:
    """Without a hold too: it goes back before the lock ends, as one delivery of it, and what is settled too late settles nothing."""
    source = bed.sources[0]
    await bed.produce(source, numbered(1))
    async with station(bed) as at:
        (slow,) = await at.take(source, 1)
        again = (await at.take(source, 2))[1]
        expect(at.listener.count("revoked") > 0, "a handler is interrupted before the lock of its message ends")
        expect_equal((again.body, again.redelivered), (slow.body, True), "what was not settled in time comes again, and says so")
        at.ack([slow])
        await at.intake.flush()
    expect_equal(await bed.left(source), numbered(1), "what is settled too late settles nothing")


async def what_is_delivered_for_the_last_time_is_not_lost(bed: IntakeBed) -> None:
    """The broker archives it when it goes back once more, without an error; here all of it is offered until it is handled."""
    source = bed.sources[0]
    await bed.produce(source, numbered(3))
    for _ in range(bed.limit - 1):
        async with station(bed) as at:
            await at.take(source, 3)
    async with station(bed) as at:
        await at.take(source, 3)
        at.hold(source)
        await at.for_a_while(bed.lock)
        expect_equal(await bed.left(source), [], "the broker has none of it any more")
        at.admit(source)
        at.ack((await at.take(source, 5))[3:5])
        (*_, last) = await at.take(source, 7)
        at.ack([last])
        expect_equal({delivery.body for delivery in (*at.received[3:5], last)}, set(numbered(3)), "what the broker has archived is kept")
        await bed.produce(source, [b"next"])
        at.ack((await at.take(source, 8))[7:])
        expect_equal(at.bodies(source)[7], b"next", "when all of it is handled, what came later is read")
        await at.intake.flush()
    expect_equal(await bed.left(source), [], "everything is settled")


CASES = (
    case(a_short_hold_costs_no_delivery, "locks"),
    case(a_long_hold_costs_one_delivery, "locks"),
    case(a_probe_that_fails_costs_no_delivery, "locks"),
    case(what_probes_have_settled_does_not_come_again, "locks"),
    case(what_takes_longer_than_its_lock_comes_again, "locks"),
    case(what_is_delivered_for_the_last_time_is_not_lost, "locks", "peek"),
)
