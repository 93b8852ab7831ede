"""A real worker in a real outage, seen by a real Prometheus with the rules that are shipped, and by a real Alertmanager."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.examples.payments import Payments
from tests.examples.running import example
from tests.examples.shipped import MONITORING, RULES, expressions, load, panels, rules
from tests.examples.test_monitoring import QUESTIONS
from tests.servers.ports import release_port, reserve_port
from tests.servers.prometheus import Server, alertmanager_at, prometheus_at

if TYPE_CHECKING:
    from tests.servers.kafka_address import KafkaAddress

BEFORE = [b"order %d" % number for number in range(1, 4)]
DURING = [b"order %d" % number for number in range(4, 40)]


def quicker(topic: str) -> dict[str, Any]:
    """The rule of an outage, which calls after a second here; and alerts on lag as others have them, of this topic and of another one."""
    (outage,) = (rule for rule in rules() if rule["alert"] == "HoldgateCircuitOpen")
    lag = {"alert": "LagIsHigh", "expr": "vector(1)"}
    others = [{**lag, "labels": {"about": "lag", "destination": name}} for name in (topic, "elsewhere")]
    return {"groups": [{"name": "quicker", "rules": [{**outage, "alert": "QuickerCircuitOpen", "for": "1s"}, *others]}]}


def configuration(worker: int, alertmanager: Server, folder: Path, topic: str) -> Path:
    """The configuration that is shipped, but for its places and its pace."""
    settings = load(MONITORING / "prometheus.yml")
    settings["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    settings["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{worker}"]}]
    (folder / "quicker.yml").write_text(json.dumps(quicker(topic)))
    settings["rule_files"] = [str(RULES), str(folder / "quicker.yml")]
    settings["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager.address]}]}]}
    path = folder / "prometheus.yml"
    path.write_text(json.dumps(settings))
    return path


async def states(prometheus: Server) -> dict[str, str]:
    """The state of each alert that is not silent, by its name."""
    alerts = (await prometheus.get("/api/v1/alerts"))["data"]["alerts"]
    return {alert["labels"]["alertname"]: alert["state"] for alert in alerts}


@pytest.mark.slow
async def test_an_outage_is_seen_by_prometheus_and_calls_once(
    kafka: KafkaAddress, topic, prometheus: Callable[[str], Path], alertmanager: list[str], tmp_path: Path
) -> None:
    """The worker is scraped, the rules load, the outage's alert fires, the dashboard's first row has answers, and the alert on lag of this
    topic is kept silent, that of another one is not."""
    orders, port = await topic(), reserve_port()
    async with AsyncExitStack() as stack:
        payments = await stack.enter_async_context(Payments())
        places = {"KAFKA": kafka.bootstrap, "TOPIC": orders, "PAYMENTS_HOST": payments.host, "PORT": str(port)}
        worker = await stack.enter_async_context(example("control_worker", **places))
        manager = await stack.enter_async_context(alertmanager_at(alertmanager, MONITORING / "alertmanager.yml", tmp_path / "alertmanager"))
        settings = configuration(port, manager, tmp_path, orders)
        server = await stack.enter_async_context(prometheus_at(prometheus("prometheus"), settings, tmp_path / "prometheus"))

        await kafka.produce(orders, BEFORE)
        await worker.until(lambda: payments.charged == BEFORE)
        assert await server.until(lambda: server.query(f'holdgate_deliveries_total{{destination="{orders}", settlement="processed"}} == 3'))
        loaded = (await server.get("/api/v1/rules"))["data"]["groups"]
        assert {rule["name"] for group in loaded for rule in group["rules"]} >= {rule["alert"] for rule in rules()}
        assert not {name for name in await states(server) if name.startswith(("Holdgate", "Quicker"))}

        payments.is_up = False
        await kafka.produce(orders, DURING)

        async def has_called() -> bool:
            now = await states(server)
            return now.get("QuickerCircuitOpen") == "firing" and now.get("HoldgateHolding") == "firing"

        assert await server.until(has_called)
        assert (await states(server))["HoldgateCircuitOpen"] == "pending"  # five minutes have not gone by
        loaded = (await server.get("/api/v1/rules"))["data"]["groups"]
        assert {rule["health"] for group in loaded for rule in group["rules"]} == {"ok"}

        for who, expression in expressions().items():
            await server.query(expression.replace("$job", "holdgate"))  # an error is an HTTP status, which raises
            assert who
        first = {panel["title"]: panel["targets"][0]["expr"].replace("$job", "holdgate") for panel in panels()[: len(QUESTIONS)]}
        for question in QUESTIONS[:4]:  # in a hold nobody knows when it will be drained
            assert await server.until(lambda question=question: server.query(first[question])), question

        async def is_inhibited() -> bool:
            alerts = {each["labels"]["destination"]: each["status"] for each in await lag_alerts(manager)}
            return len(alerts) == 2 and bool(alerts[orders]["inhibitedBy"])

        assert await manager.until(is_inhibited)
        (elsewhere,) = [each for each in await lag_alerts(manager) if each["labels"]["destination"] == "elsewhere"]
        assert elsewhere["status"]["state"] == "active"

        payments.is_up = True
        await worker.until(lambda: sorted(payments.charged) == sorted(BEFORE + DURING))
        await server.until(lambda: server.query('holdgate_circuit_state{dependency="payments", state="closed"} == 1'))
        assert await worker.terminate() == 0
    release_port(port)


async def lag_alerts(manager: Server) -> list[Any]:
    found = await manager.get("/api/v2/alerts", filter='about="lag"')
    return list(found)
