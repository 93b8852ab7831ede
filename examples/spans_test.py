"""A test of yours: metrics and spans of a worker go where the program sends them."""

import asyncio

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import TracerProvider

from holdgate import Delivery, Guard
from holdgate.telemetry.otel import GuardInstruments
from holdgate.telemetry.spans import Spans
from holdgate.testing import MemoryBroker, MemoryIntake, in_virtual_time


async def charge(_: Delivery) -> None:
    await asyncio.sleep(0.1)


# region worker
async def work(intake: MemoryIntake, metrics: MeterProvider, traces: TracerProvider) -> None:
    async with Guard(spans=Spans(traces)) as guard:
        GuardInstruments(guard, meter_provider=metrics)
        await guard.run(intake, charge)


# endregion


@in_virtual_time
async def test_a_message_is_counted_and_has_a_span() -> None:
    """Both name the topic."""
    reader, kept = InMemoryMetricReader(), InMemorySpanExporter()
    metrics, traces = SdkMeterProvider([reader]), SdkTracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(kept))
    broker = MemoryBroker(topics={"orders": 1})
    broker.produce("orders", b"an order")
    worker = asyncio.create_task(work(MemoryIntake(broker, topics=["orders"]), metrics, traces))
    await asyncio.sleep(1)
    seen = str(reader.get_metrics_data())
    worker.cancel()
    await asyncio.wait({worker})
    metrics.shutdown()

    assert [span.name for span in kept.get_finished_spans()] == ["process orders"]
    assert "holdgate.deliveries" in seen
