"""The same series from both exporters, read by the SDK and by Prometheus' parser."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client.parser import text_string_to_metric_families
from tests.runtime.stage import until
from tests.telemetry.conftest import scene

from holdgate import Guard
from holdgate.telemetry import names
from holdgate.telemetry.otel import GuardInstruments
from holdgate.telemetry.prometheus import render
from holdgate.testing import in_virtual_time

Seen = dict[str, dict[frozenset[tuple[str, Any]], float]]


def collected(reader: InMemoryMetricReader) -> Seen:
    seen: Seen = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    seen.setdefault(metric.name, {})[frozenset((point.attributes or {}).items())] = getattr(point, "value")  # noqa: B009
    return seen


def scraped(page: bytes) -> Seen:
    """The samples of a page under OpenTelemetry's names."""
    by_name = {}
    for series in names.ALL:
        if series.kind == "histogram":
            by_name |= {f"{series.prometheus}_{part}": f"{series.name}.{part}" for part in ("bucket", "count", "sum")}
        else:
            by_name[series.prometheus] = series.name
    seen: Seen = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            seen.setdefault(by_name[sample.name], {})[frozenset(sample.labels.items())] = sample.value
    return seen


@in_virtual_time
async def test_both_exporters_have_the_same_series_and_values() -> None:
    """After an outage, a recovery and an operator's hold: every sample of the one is a sample of the other."""
    reader = InMemoryMetricReader()
    async with scene() as stage:
        provider = MeterProvider([reader])
        GuardInstruments(stage.guard, meter_provider=provider)
        stage.handler.down = True
        await until(lambda: bool(stage.guard.snapshot().held_by("payments")))
        stage.guard.backlogs()
        stage.handler.down = False
        await until(lambda: len(stage.handler.done) == 40)
        stage.guard.hold("orders", reason="maintenance")
        await asyncio.sleep(20)
        told, page = collected(reader), scraped(render(stage.guard)[1])
        provider.shutdown()
    assert told == page
    for series in (names.HOLD_AGE, names.BACKLOG, names.DEMAND, names.PROBES, names.CIRCUIT_TRANSITIONS, names.BUILD_INFO):
        assert series.name in told
    assert "holdgate.hold.duration.bucket" in told


@in_virtual_time
async def test_kinds_units_and_words_are_those_of_the_names() -> None:
    """What goes up alone is a monotonic sum, the rest a gauge."""
    reader = InMemoryMetricReader()
    async with scene() as stage:
        provider = MeterProvider([reader])
        GuardInstruments(stage.guard, meter_provider=provider, partitions=True, attributes={"worker": "a"})
        await until(lambda: len(stage.handler.done) == 40)
        data: Any = reader.get_metrics_data()
        provider.shutdown()
    by_name = {series.name: series for series in names.ALL}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        series = by_name.get(metric.name) or by_name[metric.name.rpartition(".")[0]]
        assert metric.description == series.help
        assert getattr(metric.data, "is_monotonic", False) is (series.kind != "gauge")
        assert metric.unit == series.unit or series.kind == "histogram"
        assert all(point.attributes["worker"] == "a" for point in metric.data.data_points)


async def test_a_collection_in_another_thread_is_answered_by_the_loop() -> None:
    """As an SDK's periodic reader does it; and one that blocks the loop itself gets the last figures instead of waiting for ever."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    async with Guard(signals=False) as guard:
        GuardInstruments(guard, meter_provider=provider)
        assert "holdgate.build.info" in await asyncio.to_thread(collected, reader)
    provider.shutdown()


def test_no_collection_meets_a_guard_that_was_not_entered() -> None:
    """It has nothing to say yet."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    GuardInstruments(Guard(), meter_provider=provider)
    assert collected(reader) == {}
    provider.shutdown()


@pytest.mark.parametrize("series", names.ALL, ids=lambda series: series.name)
def test_a_name_is_as_both_worlds_want_it(series: names.Series) -> None:
    """One prefix, base units, `_total` for what goes up alone; a help of one line that ends."""
    assert series.name.startswith("holdgate.")
    assert series.prometheus.endswith("_total") is (series.kind == "counter")
    assert ("_seconds" in series.prometheus) is (series.unit == "s")
    assert series.help.endswith(".")
    assert "\n" not in series.help


def test_no_name_comes_twice() -> None:
    """Two series of a name would be one."""
    assert len({series.prometheus for series in names.ALL}) == len(names.ALL)
