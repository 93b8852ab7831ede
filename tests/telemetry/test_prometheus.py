"""The page that Prometheus scrapes, parsed by prometheus_client's own parser."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families
from tests.runtime.fleet_stage import Payments, fleet_of
from tests.runtime.stage import until
from tests.telemetry.conftest import scene

from holdgate import Guard
from holdgate.telemetry import names
from holdgate.telemetry.prometheus import GuardCollector, render
from holdgate.testing import in_virtual_time
from holdgate.testing.memory import MemoryLogServer


def samples(page: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by name and labels; none comes twice."""
    seen: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in seen
            seen[key] = sample.value
    return seen


def value(page: bytes, name: str, **labels: str) -> float | None:
    return samples(page).get((name, frozenset(labels.items())))


@in_virtual_time
async def test_an_outage_on_the_page() -> None:
    """What is held, why, since when, how much waits, what is tried next: each of it is a series."""
    async with scene() as stage:
        await until(lambda: len(stage.handler.done) >= 10)
        stage.handler.down = True
        await until(lambda: bool(stage.guard.snapshot().held_by("payments")))
        render(stage.guard)
        await asyncio.sleep(3.0)
        _, page = render(stage.guard)

        assert value(page, "holdgate_circuit_state", dependency="payments", state="open") == 1
        assert value(page, "holdgate_circuit_state", dependency="payments", state="closed") == 0
        assert value(page, "holdgate_sources_held", dependency="payments", reason="circuit") == 2
        assert value(page, "holdgate_sources", kind="topic", destination="orders") == 2
        assert 3.0 <= (value(page, "holdgate_hold_age_seconds", kind="topic", destination="orders") or 0) < 4.0
        assert value(page, "holdgate_ramp_limit", dependency="payments") == 0
        assert value(page, "holdgate_calls_total", dependency="payments", outcome="success") == len(stage.handler.done)
        assert value(page, "holdgate_calls_total", dependency="payments", outcome="failure") == 5
        assert value(page, "holdgate_call_duration_seconds_count", dependency="payments", outcome="failure") == 5
        assert value(page, "holdgate_deliveries_total", destination="orders", settlement="processed") == len(stage.handler.done)
        left = 40 - len(stage.handler.done)
        assert value(page, "holdgate_in_hand", destination="orders") == left
        assert value(page, "holdgate_backlog", kind="topic", destination="orders", group="holdgate") == left
        assert value(page, "holdgate_demand", group="holdgate") == 1
        labels = {"dependency": "payments", "from": "closed", "to": "open", "reason": "consecutive_failures"}
        assert value(page, "holdgate_circuit_transitions_total", **labels) == 1


@in_virtual_time
async def test_a_recovery_on_the_page() -> None:
    """The hold is over and has its duration, the probe its result; what is willing to be drained is all again."""
    async with scene() as stage:
        stage.handler.down = True
        await until(lambda: bool(stage.guard.snapshot().held_by("payments")))
        stage.handler.down = False
        await until(lambda: len(stage.handler.done) == 40)
        render(stage.guard)
        await asyncio.sleep(60)
        _, page = render(stage.guard)

        assert value(page, "holdgate_probes_total", dependency="payments", result="success") == 1
        assert value(page, "holdgate_sources_held", dependency="payments", reason="circuit") == 0
        assert value(page, "holdgate_hold_age_seconds", kind="topic", destination="orders") is None
        assert (value(page, "holdgate_hold_duration_seconds_count", dependency="payments", reason="circuit") or 0) >= 2
        assert value(page, "holdgate_backlog", kind="topic", destination="orders", group="holdgate") == 0
        assert value(page, "holdgate_backlog_drain_seconds", kind="topic", destination="orders", group="holdgate") == 0


@in_virtual_time
async def test_a_ratio_is_absent_below_the_minimum() -> None:
    """Never -1, and never 0 for a failure among three calls."""
    async with scene(3) as stage:
        await until(lambda: len(stage.handler.done) == 3)
        assert b"holdgate_failure_ratio" not in render(stage.guard)[1]
    async with scene(30) as stage:
        await until(lambda: len(stage.handler.done) == 30)
        assert value(render(stage.guard)[1], "holdgate_failure_ratio", dependency="payments") == 0


@in_virtual_time
async def test_buckets_add_up() -> None:
    """Each counts everything up to its bound, and the last one is the count."""
    async with scene() as stage:
        await until(lambda: len(stage.handler.done) == 40)
        _, page = render(stage.guard)
        labels = {"dependency": "payments", "outcome": "success"}
        buckets = [value(page, "holdgate_call_duration_seconds_bucket", le=le, **labels) for le in ("0.005", "0.025", "60.0", "+Inf")]
        assert buckets == [0, 40, 40, 40]
        assert value(page, "holdgate_call_duration_seconds_sum", **labels) == pytest.approx(0.4)


@in_virtual_time
async def test_every_series_of_a_page_is_one_of_the_names() -> None:
    """Name, kind and help as they are documented, in both formats."""
    by_name = {series.prometheus: series for series in names.ALL}
    async with scene() as stage:
        await until(lambda: len(stage.handler.done) == 40)
        kind, page = render(stage.guard)
        assert kind.startswith("text/plain")
        for family in text_string_to_metric_families(page.decode()):
            series = by_name[family.name + ("_total" if family.type == "counter" else "")]
            assert (series.kind, series.help) == (family.type, family.documentation)
        kind, page = render(stage.guard, "application/openmetrics-text; version=1.0.0")
        assert kind.startswith("application/openmetrics-text")
        assert len(list(openmetrics_families(page.decode()))) > 10


@in_virtual_time
async def test_a_hold_by_partition_when_it_is_asked_for() -> None:
    """Else the topic's oldest."""
    async with scene() as stage:
        await asyncio.sleep(1)
        stage.guard.hold("orders", reason="maintenance")
        await asyncio.sleep(1)
        _, page = render(stage.guard, partitions=True)
        for number in ("0", "1"):
            assert value(page, "holdgate_hold_age_seconds", kind="topic", destination="orders", partition=number) is not None
        assert value(page, "holdgate_sources_held", dependency="", reason="operator") == 2


@in_virtual_time
async def test_hostile_names_do_not_break_the_page() -> None:
    """A line break, a quote, a thousand characters: the page parses, and a value stays short."""
    async with scene(topic='pay\n"\\ments\u202e' + "x" * 1000) as stage:
        await until(lambda: len(stage.handler.done) == 40)
        _, page = render(stage.guard)
        (seen,) = {dict(labels)["destination"] for (series, labels), _ in samples(page).items() if series == "holdgate_in_hand"}
        assert seen.startswith('pay\\n"\\ments\\u202e')
        assert len(seen) < 150


@in_virtual_time
async def test_labels_of_ones_own() -> None:
    """Two workers in one process are told apart."""
    async with scene() as stage:
        registry = CollectorRegistry()
        registry.register(GuardCollector(stage.guard, labels={"worker": "a"}))
        await until(lambda: len(stage.handler.done) == 40)
        found = registry.get_sample_value("holdgate_calls_total", {"dependency": "payments", "outcome": "success", "worker": "a"})
        assert found == 40


def test_a_label_that_a_series_has_is_refused() -> None:
    """It would hide the series' own."""
    with pytest.raises(ValueError, match=r"must have other names .* got \['dependency'\]"):
        GuardCollector(Guard(), labels={"dependency": "x"})


def test_a_guard_that_was_not_entered_has_nothing_to_say() -> None:
    """It can be registered before."""
    registry = CollectorRegistry()
    registry.register(GuardCollector(Guard()))
    assert list(registry.collect()) == []


def families(text: str) -> Iterable[str]:
    return [family.name for family in text_string_to_metric_families(text)]


async def test_scraped_over_http_from_a_thread_of_its_own() -> None:
    """prometheus_client's server asks in its thread, and the guard answers on its loop."""
    registry = CollectorRegistry()
    async with Guard(signals=False) as guard:
        registry.register(GuardCollector(guard))
        server, thread = start_http_server(0, "127.0.0.1", registry)
        address = f"http://127.0.0.1:{server.server_port}/metrics"
        try:
            page = await asyncio.to_thread(lambda: urllib.request.urlopen(address, timeout=60).read().decode())
            assert "holdgate_build_info" in families(page)
        finally:
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            thread.join()


@in_virtual_time
async def test_a_fleet_on_the_page() -> None:
    """Who is in it, whether its log answers, who conducts, and this worker's share of the limit of all. Nothing of it without one."""
    payments = Payments()
    async with fleet_of(4, payments, MemoryLogServer()) as workers:
        assert [value(render(worker.guard)[1], "holdgate_fleet_members", fleet="fleet") for worker in workers] == [4] * 4
        assert value(render(workers[0].guard)[1], "holdgate_fleet_log_readable", fleet="fleet") == 1
        payments.is_down = True
        await until(
            lambda: sum(value(render(each.guard)[1], "holdgate_fleet_conducting", dependency="payments") or 0 for each in workers) == 1
        )
        assert (value(render(workers[0].guard)[1], "holdgate_fleet_epoch", dependency="payments") or 0) >= 1
        payments.is_down = False
        await until(lambda: (value(render(workers[0].guard)[1], "holdgate_fleet_limit", dependency="payments") or 0) >= 1)
        assert value(render(workers[0].guard)[1], "holdgate_fleet_share", dependency="payments") is not None
    async with scene() as stage:
        assert value(render(stage.guard)[1], "holdgate_fleet_members", fleet="fleet") is None
