"""A test of yours: what an outage of an hour does to a handler, in milliseconds and without a broker."""

import httpx

from holdgate import Delivery, Dependency, http
from holdgate.testing import Answered, Outage, rehearse
from holdgate.testing.scripted.httpx import AsyncScriptedTransport

# region test
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)
charged: list[bytes] = []


def bank(request: httpx.Request) -> httpx.Response:  # what answers while it is up
    charged.append(request.content)
    return httpx.Response(201)


client = httpx.AsyncClient(transport=AsyncScriptedTransport(payments, bank), timeout=5)


async def charge(delivery: Delivery) -> None:  # your handler, as it is
    response = await client.post("https://bank.example/charges", content=delivery.body)
    response.raise_for_status()


def test_an_outage_of_an_hour_costs_nothing() -> None:
    report = rehearse(charge, needs=[payments], deliveries=200, outage=Outage(start=10, end=3610))

    assert report.problems == ()
    assert len(charged) == len(set(charged)) == 200
    assert report.failed_calls < 80


# endregion


# region careless
async def charge_carelessly(delivery: Delivery) -> None:
    await client.post("https://bank.example/charges", content=delivery.body)  # and nobody looks at the status


def test_what_a_careless_handler_loses() -> None:
    report = rehearse(charge_carelessly, needs=[payments], deliveries=200, outage=Outage(start=10, end=70, fault=Answered(503)))

    assert report.problems == (
        "payments: 60 messages were reported as done while every call failed: the handler swallows errors, or does not look at the status",
    )


# endregion
