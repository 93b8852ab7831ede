"""The far end for requests."""

from __future__ import annotations

from typing import Any

import pytest

from holdgate import Dependency, http
from holdgate.testing import Answered, Hung
from tests.testing.scripted.rehearsed import COUNT, FAULTS, PATIENCE, assert_lost_nothing, first_error, name_of, real, through

requests = pytest.importorskip("requests")
from urllib3.util import Retry  # noqa: E402

from holdgate.testing.scripted.requests import Reply, ScriptedAdapter  # noqa: E402

URL = "https://bank.example/charge"
payments = Dependency("payments", failures=http.failures, retry_after=http.retry_after)


def session(**settings: Any) -> Any:
    made = requests.Session()
    made.trust_env = False
    made.mount("https://", ScriptedAdapter(payments, **settings))
    return made


once = session()
# No wait between two: what urllib3 sleeps is real time.
again = session(max_retries=Retry(1, status_forcelist=[429, 503], allowed_methods=None, respect_retry_after_header=False))


def charge(delivery: Any) -> None:
    once.post(URL, data=delivery.body, timeout=PATIENCE).raise_for_status()


def charge_again(delivery: Any) -> None:
    again.post(URL, data=delivery.body, timeout=PATIENCE).raise_for_status()


@pytest.mark.parametrize("situation", FAULTS)
@pytest.mark.parametrize(("handler", "client"), [(charge, "requests"), (charge_again, "requests (Retry)")])
def test_it_fails_as_the_real_server(handler: Any, client: str, situation: str) -> None:
    """The client raises what it raised on a real socket, with and without retries of its own."""
    error = first_error(lambda around: through(around(handler), payments, FAULTS[situation]))

    assert name_of(error) == real("http", client, situation)


@pytest.mark.parametrize("situation", FAULTS)
@pytest.mark.parametrize("handler", [charge, charge_again])
def test_a_good_handler_loses_nothing(handler: Any, situation: str) -> None:
    """With and without retries of the client's own."""
    assert_lost_nothing(through(handler, payments, FAULTS[situation]))


def test_a_handler_that_forgets_the_status_is_seen() -> None:
    """All 60 of the outage."""

    def careless(delivery: Any) -> None:
        once.post(URL, timeout=PATIENCE)

    assert len(through(careless, payments, Answered(503)).swallowed) == 60


def test_a_call_without_a_limit_hangs_until_the_outage_is_over() -> None:
    """It is said, and the connection is reset in the end."""

    def patient(delivery: Any) -> None:
        once.post(URL)

    error = first_error(lambda around: through(around(patient), payments, Hung()))
    report = through(patient, payments, Hung())

    assert name_of(error) == "requests.ConnectionError"
    assert report.problems == ("payments: 1 call hung until the outage was over: the client has no time limit",)
    assert len(report.processed) == COUNT


def test_an_exception_of_ones_own_is_raised_as_it_is() -> None:
    """What no stand-in knows of."""
    fault = requests.exceptions.SSLError("no trust")

    assert first_error(lambda around: through(around(charge), payments, fault)) is fault


def test_it_answers_what_it_is_given() -> None:
    """Bytes as they are, everything else as JSON; it is up where no rehearsal is."""
    bytes_back = session(answer=lambda request: Reply(201, request.body, {"X-Bank": "1"}))
    json_back = session(answer=lambda request: Reply(body={"url": request.url}))
    first, second = bytes_back.post(URL, data=b"5"), json_back.get(URL)

    assert (first.status_code, first.content, first.headers["X-Bank"]) == (201, b"5", "1")
    assert (second.json(), once.get(URL).json()) == ({"url": URL}, {})
