"""A real HTTP server says when to come back, and the worker comes back then, on any broker."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.scenarios.brokers import in_real_time_on_every_broker
from tests.scenarios.world import PATIENCE, numbered

from holdgate import CircuitSettings, Dependency, RetryPolicy, http
from holdgate.core import CircuitOpened, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.scenarios.world import World

    from holdgate import Delivery

# Left to itself the circuit would be tried again ten times before the server's word is over.
IMPATIENT = CircuitSettings(open_duration=0.1, open_duration_max=0.1, open_jitter=0.0)
WAIT = 1
# A date has no parts of a second: this one is at least one second away.
DATE_WAIT = 2


class Server:
    """Answers with the next of `refusals`, each a status and how its Retry-After is written, every third time; else with 200."""

    def __init__(self, *refusals: tuple[int, str]) -> None:
        self._refusals = iter(refusals)
        self.asked: list[tuple[float, int]] = []
        self.processed: list[bytes] = []
        self.url = ""

    def answer(self) -> tuple[int, str | None]:
        """Status and form, for the request that came now."""
        refusal = next(self._refusals, None) if len(self.asked) % 3 == 1 else None
        status, form = refusal or (200, None)
        self.asked.append((time.monotonic(), status))
        return status, form

    def charge(self, delivery: Delivery[Any]) -> None:
        """A plain handler, as most are."""
        try:
            urlopen(self.url, delivery.body, timeout=PATIENCE).close()  # noqa: S310 - a server of our own
        except HTTPError as error:
            error.close()
            raise
        self.processed.append(delivery.body or b"")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Serve on a port of its own."""
        server = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                status, form = server.answer()
                self.send_response(status)
                if form is not None:
                    self.send_header("Retry-After", str(WAIT) if form == "seconds" else formatdate(time.time() + DATE_WAIT, usegmt=True))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as http_server:
            self.url = f"http://127.0.0.1:{http_server.server_port}/charges"
            serving = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
            serving.start()
            try:
                yield
            finally:
                http_server.shutdown()
                serving.join()


@in_real_time_on_every_broker
async def test_the_worker_comes_back_when_the_server_said(world: World) -> None:
    """429 and 503, in seconds and as a date: nobody asks before that time, and no attempt is used up. A 503 alone opens the circuit."""
    server = Server((429, "seconds"), (503, "date"), (429, "date"), (503, "seconds"))
    needs = [Dependency("payments", failures=http.failures, retry_after=http.retry_after, settings=IMPATIENT)]
    await world.produce(world.first, numbered(12))
    with server.listening():
        async with world.working(server.charge, needs=needs, order="source", retry=RetryPolicy(attempts=1)):
            await world.until(lambda: len(server.processed) == 12, "all was processed")

    await world.check(server.processed)
    assert [status for _, status in server.asked if status != 200] == [429, 503, 429, 503]
    pauses = [after - before for (before, status), (after, _) in itertools.pairwise(server.asked) if status != 200]
    assert min(pauses) >= WAIT * 0.95  # the server's clock and ours are one, but the answer has a way to go
    assert {event.reason for event in world.told(CircuitOpened)} == {Reason.RETRY_AFTER}
    assert len(world.told(CircuitOpened)) == 2
