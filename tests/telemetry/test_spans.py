"""Consumer spans: one for each attempt, none for what waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import SpanKind, StatusCode
from tests.runtime.stage import STEADY, Down, broker_with, quiet_guard, running, until

from holdgate import Delivery, Dependency, Guard, Partition
from holdgate.errors import SettingsError
from holdgate.ports import Attempted
from holdgate.telemetry import spans
from holdgate.telemetry.spans import Spans
from holdgate.testing import MemoryBroker, MemoryIntake, in_virtual_time

TRACE, PRODUCER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CANARY = "canary-4711"


class Traced:
    """A provider whose spans are kept."""

    def __init__(self, **settings: Any) -> None:
        self.kept = InMemorySpanExporter()
        self.provider = TracerProvider(**settings)
        self.provider.add_span_processor(SimpleSpanProcessor(self.kept))

    @property
    def finished(self) -> Sequence[ReadableSpan]:
        return self.kept.get_finished_spans()


@asynccontextmanager
async def traced_guard(traced: Traced) -> AsyncIterator[Guard]:
    async with quiet_guard(spans=Spans(traced.provider, at_most=None)) as guard:
        yield guard
        await asyncio.sleep(1)


def one_span(traced: Traced) -> Spans:
    """Return what lets one begin, and no second one, however long the test takes."""
    made = Spans(traced.provider, at_most=1)
    made._now = lambda: 0.0
    return made


def payments() -> Dependency:
    return Dependency("payments", failures=Down, settings=STEADY)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@in_virtual_time
async def test_an_attempt_is_a_consumer_span() -> None:
    """Named and described by the conventions, and the current span within the handler alone."""
    traced = Traced()
    inside: list[trace.Span] = []

    async def handler(delivery: Delivery[Any]) -> None:
        inside.append(trace.get_current_span())

    async with traced_guard(traced) as guard, running(guard.run(MemoryIntake(broker_with(2), topics=["orders"]), handler)):
        await until(lambda: len(inside) == 2)
        assert not trace.get_current_span().get_span_context().is_valid
    first, second = traced.finished
    assert (first.name, first.kind, first.status.status_code) == ("process orders", SpanKind.CONSUMER, StatusCode.UNSET)
    assert attributes(first) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "orders",
        "messaging.destination.partition.id": "0",
        "messaging.consumer.group.name": "holdgate",
        "messaging.kafka.offset": 0,
        "holdgate.attempt": 1,
    }
    assert attributes(second)["messaging.kafka.offset"] == 1
    assert [span.get_span_context().span_id for span in inside] == [first.context.span_id, second.context.span_id]
    assert first.parent is None
    assert first.context.trace_id != second.context.trace_id


@in_virtual_time
async def test_a_queue_is_rabbitmq() -> None:
    """With its delivery tag, and without a group."""
    traced = Traced()
    broker = MemoryBroker(queues=["bills"])
    broker.produce("bills", b"x")

    async def handler(delivery: Delivery[Any]) -> None: ...

    async with traced_guard(traced) as guard, running(guard.run(MemoryIntake(broker, queues=["bills"]), handler)):
        await until(lambda: len(traced.finished) == 1)
    seen = attributes(traced.finished[0])
    assert (seen["messaging.system"], seen["messaging.rabbitmq.message.delivery_tag"]) == ("rabbitmq", 1)
    assert "messaging.consumer.group.name" not in seen


@pytest.mark.parametrize("as_bytes", [True, False])
@in_virtual_time
async def test_a_link_leads_to_the_producer(as_bytes: bool) -> None:
    """By the headers that its client has put in, which are bytes on Kafka; a message without them has no link."""
    traced = Traced()
    broker = MemoryBroker(topics={"orders": 1})
    header = f"00-{TRACE}-{PRODUCER}-01"
    broker.produce("orders", b"x", headers={"traceparent": header.encode() if as_bytes else header, "secret": CANARY, "n": 7})
    broker.produce("orders", b"x")
    broker.produce("orders", b"x", headers={"traceparent": b"\xff nonsense"})

    async def handler(delivery: Delivery[Any]) -> None: ...

    async with traced_guard(traced) as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handler)):
        await until(lambda: len(traced.finished) == 3)
    links = [[(f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") for link in span.links] for span in traced.finished]
    assert links == [[(TRACE, PRODUCER)], [], []]


@in_virtual_time
async def test_a_batch_is_one_span_with_a_link_for_each_message() -> None:
    """Its number of messages is in it."""
    traced = Traced()
    broker = MemoryBroker(topics={"orders": 1})
    for _ in range(3):
        broker.produce("orders", b"x", headers={"traceparent": f"00-{TRACE}-{PRODUCER}-01"})

    async def handler(deliveries: Sequence[Delivery[Any]]) -> None: ...

    async with traced_guard(traced) as guard, running(guard.run(MemoryIntake(broker, topics=["orders"]), handler, batch=10)):
        await until(lambda: len(traced.finished) == 1)
    (span,) = traced.finished
    assert (attributes(span)["messaging.batch.message_count"], len(span.links)) == (3, 3)


@in_virtual_time
async def test_a_failed_attempt_has_its_type_and_no_text() -> None:
    """The text of an exception may quote the message."""
    traced = Traced()

    async def handler(delivery: Delivery[Any]) -> None:
        if delivery.attempt == 1:
            raise ValueError(CANARY)

    async with traced_guard(traced) as guard, running(guard.run(MemoryIntake(broker_with(1), topics=["orders"]), handler)):
        await until(lambda: len(traced.finished) == 2)
    failed, good = traced.finished
    assert (failed.status.status_code, failed.status.description, attributes(failed)["error.type"]) == (
        StatusCode.ERROR,
        None,
        "ValueError",
    )
    assert (good.status.status_code, attributes(good)["holdgate.attempt"]) == (StatusCode.UNSET, 2)
    assert CANARY not in failed.to_json() + good.to_json()


@in_virtual_time
async def test_a_transition_is_an_event_of_what_has_caused_it_and_of_what_runs() -> None:
    """The fifth failure opens the circuit: that attempt has it, and so has one that runs beside; one that needs nothing has not."""
    traced = Traced()
    slow = asyncio.Event()

    async def handler(delivery: Delivery[Any]) -> None:
        if delivery.position == 0:
            await slow.wait()
        raise Down

    async def other(delivery: Delivery[Any]) -> None:
        await slow.wait()

    async with traced_guard(traced) as guard:
        bills = MemoryIntake(broker_with(1, topic="bills"), topics=["bills"])
        first = guard.run(MemoryIntake(broker_with(12), topics=["orders"]), handler, needs=[payments()], order="none")
        async with running(first), running(guard.run(bills, other)):
            await until(lambda: bool(guard.snapshot().held_by("payments")))
            slow.set()
            await until(lambda: any(span.name == "process bills" for span in traced.finished))
    events = {
        (span.name, attributes(span)["messaging.kafka.offset"]): [event for event in span.events if event.name == spans.TRANSITION]
        for span in reversed(traced.finished)
    }
    assert events["process bills", 0] == []
    (opened,) = [event for event in events["process orders", 0] if dict(event.attributes or {})["to"] == "open"]
    assert dict(opened.attributes or {}) == {"dependency": "payments", "from": "closed", "to": "open", "reason": "consecutive_failures"}
    causes = [where for where, seen in events.items() if seen and where != ("process orders", 0)]
    assert causes


@in_virtual_time
async def test_a_held_message_has_no_span() -> None:
    """Nothing processes it: for as long as the hold lasts no span begins, and none is open."""
    traced = Traced()
    calls = 0

    async def handler(delivery: Delivery[Any]) -> None:
        nonlocal calls
        calls += 1
        raise Down

    run = {"needs": [payments()]}
    async with traced_guard(traced) as guard, running(guard.run(MemoryIntake(broker_with(5), topics=["orders"]), handler, **run)):
        await until(lambda: bool(guard.snapshot().held_by("payments")))
        await asyncio.sleep(1)
        assert len(traced.finished) == calls


@in_virtual_time
async def test_an_attempt_that_the_guard_cuts_off_is_no_error() -> None:
    """It comes again, elsewhere; one whose time is over has failed."""
    traced = Traced()

    async def handler(delivery: Delivery[Any]) -> None:
        await asyncio.sleep(100)

    async with traced_guard(traced) as guard:
        async with running(guard.run(MemoryIntake(broker_with(1), topics=["orders"]), handler)):
            await asyncio.sleep(1)
        async with running(guard.run(MemoryIntake(broker_with(1), topics=["orders"]), handler, timeout=1.0)):
            await asyncio.sleep(1.5)
    cut, late = traced.finished[:2]
    assert (attributes(cut)["holdgate.interrupted"], cut.status.status_code) == (True, StatusCode.UNSET)
    assert (attributes(late)["error.type"], late.status.status_code) == ("TimeoutError", StatusCode.ERROR)


@in_virtual_time
async def test_a_fallback_is_an_attempt_of_its_own() -> None:
    """It is marked as one."""
    traced = Traced()

    async def handler(delivery: Delivery[Any]) -> None:
        raise Down

    async def fallback(delivery: Delivery[Any]) -> None: ...

    more: dict[str, Any] = {"needs": [payments()], "fallback": fallback}
    async with traced_guard(traced) as guard, running(guard.run(MemoryIntake(broker_with(3), topics=["orders"]), handler, **more)):
        await until(lambda: any("holdgate.fallback" in attributes(span) for span in traced.finished))


@in_virtual_time
async def test_a_block_of_the_loop_form_is_an_attempt() -> None:
    """Its span is the current one in the block, and not outside of it."""
    traced = Traced()
    async with traced_guard(traced) as guard, guard.deliveries(MemoryIntake(broker_with(2), topics=["orders"])) as deliveries:
        async for delivery in deliveries:
            assert not trace.get_current_span().get_span_context().is_valid
            async with delivery:
                assert trace.get_current_span().get_span_context().is_valid
                if delivery.attempt == 1 and delivery.position == 0:
                    raise ValueError(CANARY)
            if delivery.position == 1:
                break
    assert [attributes(span).get("error.type") for span in traced.finished] == ["ValueError", None, None]


@in_virtual_time
async def test_a_plain_handler_sees_its_span_in_its_thread() -> None:
    """The context goes along."""
    traced = Traced()
    inside: list[int] = []

    def handler(delivery: Delivery[Any]) -> None:
        inside.append(trace.get_current_span().get_span_context().span_id)

    async with traced_guard(traced) as guard, running(guard.run(MemoryIntake(broker_with(1), topics=["orders"]), handler)):
        await until(lambda: len(traced.finished) == 1)
    assert inside == [traced.finished[0].context.span_id]


@in_virtual_time
async def test_a_lane_goes_on_in_its_task() -> None:
    """A span leaves nothing in the context, so that no new task is needed for the next message."""
    traced = Traced()
    tasks = set()

    async def handler(delivery: Delivery[Any]) -> None:
        tasks.add(asyncio.current_task())

    async with traced_guard(traced) as guard, running(guard.run(MemoryIntake(broker_with(50), topics=["orders"]), handler)):
        await until(lambda: len(traced.finished) == 50)
    assert len(tasks) == 1


@in_virtual_time
async def test_what_is_not_sampled_is_not_kept_and_still_in_the_context() -> None:
    """So that what the handler calls is not sampled either. Without an SDK there is nothing at all."""
    traced = Traced(sampler=ALWAYS_OFF)
    inside: list[trace.SpanContext] = []

    async def handler(delivery: Delivery[Any]) -> None:
        inside.append(trace.get_current_span().get_span_context())

    async with traced_guard(traced) as guard, running(guard.run(MemoryIntake(broker_with(1), topics=["orders"]), handler)):
        await until(lambda: len(inside) == 1)
    async with quiet_guard(spans=Spans()) as guard, running(guard.run(MemoryIntake(broker_with(1), topics=["orders"]), handler)):
        await until(lambda: len(inside) == 2)
    assert (inside[0].is_valid, inside[0].trace_flags.sampled, inside[1].is_valid) == (True, False, False)
    assert not traced.finished


@in_virtual_time
async def test_no_more_spans_begin_in_a_second_than_may() -> None:
    """What is above it has none; in virtual time no real second passes."""
    traced = Traced()
    handled = 0

    async def handler(delivery: Delivery[Any]) -> None:
        nonlocal handled
        handled += 1
        await asyncio.sleep(0.001)

    async with (
        quiet_guard(spans=Spans(traced.provider, at_most=1)) as guard,
        running(guard.run(MemoryIntake(broker_with(50), topics=["orders"]), handler)),
    ):
        await until(lambda: handled == 50)
    assert len(traced.finished) == 1


@in_virtual_time
async def test_fallbacks_and_blocks_are_counted_with_the_others() -> None:
    """In an outage each message may have a fallback, and of these no more begin either."""
    traced, fell_back = Traced(), 0

    async def handler(delivery: Delivery[Any]) -> None:
        raise Down

    async def fallback(delivery: Delivery[Any]) -> None:
        nonlocal fell_back
        fell_back += 1
        await asyncio.sleep(0.001)

    more: dict[str, Any] = {"needs": [payments()], "fallback": fallback}
    async with (
        quiet_guard(spans=one_span(traced)) as guard,
        running(guard.run(MemoryIntake(broker_with(50), topics=["orders"]), handler, **more)),
    ):
        await until(lambda: fell_back > 20)
    assert len(traced.finished) <= 5  # a slice of quick attempts may go over it
    before = len(traced.finished)
    async with (
        quiet_guard(spans=one_span(traced)) as guard,
        guard.deliveries(MemoryIntake(broker_with(50), topics=["orders"])) as deliveries,
    ):
        async for delivery in deliveries:
            async with delivery:
                pass
            if delivery.position == 49:
                break
    assert len(traced.finished) - before == 1


class Broken(SpanProcessor):
    """Raises at one end of a span, with something in its text that nobody may read."""

    def __init__(self, *, at_start: bool) -> None:
        self.at_start = at_start

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        if self.at_start:
            raise ValueError(CANARY)

    def on_end(self, span: Any) -> None:
        if not self.at_start:
            raise ValueError(CANARY)


@pytest.mark.parametrize("at_start", [True, False])
@in_virtual_time
async def test_a_processor_that_raises_fails_no_message(caplog: pytest.LogCaptureFixture, at_start: bool) -> None:
    """It is somebody else's code, as that of a propagator is. The log says so once, by the type."""
    traced, handled = Traced(), []

    async def handler(delivery: Delivery[Any]) -> None:
        handled.append((delivery.position, delivery.attempt))

    traced.provider.add_span_processor(Broken(at_start=at_start))
    async with traced_guard(traced) as guard, running(guard.run(MemoryIntake(broker_with(3), topics=["orders"]), handler)):
        await until(lambda: len(handled) >= 3)
        await asyncio.sleep(1)
    assert handled == [(0, 1), (1, 1), (2, 1)]
    assert [record.getMessage() for record in caplog.records if "span" in record.getMessage()] == [
        "spans: ValueError was raised by a span processor, a sampler or a propagator: the messages go on without"
    ]
    assert CANARY not in caplog.text


def test_what_goes_over_the_rate_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice of quick messages is asked for once; five of them with one span a second are those of five seconds."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    made = Spans(at_most=1)
    for _ in range(2):
        assert made.wanted()
        made._left -= 5
        now += 4.999
        assert not made.wanted()
        now += 0.002
    assert made.wanted()


@pytest.mark.parametrize(("at_most", "together", "after"), [(1, 1, 1.0), (200, 20, 0.1), (5, 1, 0.2)])
def test_spans_are_spread_over_the_second(monkeypatch, at_most: int, together: int, after: float) -> None:
    """A tenth of them together, or one alone; as many again when their time has passed."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    made = Spans(at_most=at_most)
    for _ in range(2):
        made._left -= together - 1
        assert made.wanted()
        made._left -= 1
        assert not made.wanted()
        now += after - 0.001
        assert not made.wanted()
        now += 0.002
        assert made.wanted()
    with pytest.raises(SettingsError, match="at_most"):
        Spans(at_most=0)


@pytest.mark.parametrize("at_most", [100, None])
def test_without_an_sdk_a_worker_looks_for_one_once_a_second(at_most: int | None) -> None:
    """Each look costs as much as a message; in between no span is begun. An SDK that is set up later is found."""
    looked: list[str] = []
    real = Traced().provider.get_tracer("holdgate")

    class Tracer(trace.NoOpTracer):
        is_there = False

        def start_span(self, name: str, *given: Any, **more: Any) -> trace.Span:
            looked.append(name)
            return real.start_span(name, *given, **more) if self.is_there else super().start_span(name, *given, **more)

    made, now = Spans(at_most=at_most), [0.0]
    made._tracer, made._now = Tracer(), lambda: now[0]
    attempted = Attempted(Partition("orders", 0), "", ())
    delivery: Any = SimpleNamespace(source=attempted.source, position=0, attempt=1, headers={})
    assert made.wanted()
    assert [made.begin(attempted, delivery) for _ in range(3)] == [None, None, None]
    assert (looked, made.wanted()) == (["process orders"], False)
    now[0] = 0.9
    assert not made.wanted()
    now[0], Tracer.is_there = 1.1, True
    assert made.wanted()
    attempt = made.begin(attempted, delivery)
    assert attempt is not None
    made.end(attempt, None)
    assert looked == ["process orders"] * 2


def test_the_words_are_those_of_the_conventions() -> None:
    """Of the version that is pinned, and not of one that the package has moved on to."""
    assert Schemas.V1_44_0.value == spans.SCHEMA
    words = {value for name, value in vars(messaging_attributes).items() if name.startswith("MESSAGING_")}
    used = {value for name, value in vars(spans).items() if isinstance(value, str) and value.startswith("messaging.")}
    assert used <= words
    assert len(used) == 9
    assert error_attributes.ERROR_TYPE == spans.ERROR_TYPE
