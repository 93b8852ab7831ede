"""What a far end answers, and the client that a handler calls it with: it raises as a client of HTTP does, and counts what came back.

Theory of operation. A far end takes a call and answers it later, or never. It gets a function for the answer, because nobody waits while
it works: a client that has given up does not tell it. The client waits in a task, for so long as its own time limit says.

No client library is imported. What is raised has a `response` with a status and headers, as httpx' and requests' errors have, so that
`holdgate.http` reads it like theirs. No answer is a TimeoutError, and a refused connection a ConnectionRefusedError.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Protocol

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """One answer. `status` 0 means that nobody listened: the connection was refused."""

    status_code: int = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=lambda: _NO_HEADERS)

    @property
    def is_good(self) -> bool:
        """Whether the call has done its work."""
        return self.status_code == HTTPStatus.OK


OK = HttpAnswer()
UNAVAILABLE = HttpAnswer(HTTPStatus.SERVICE_UNAVAILABLE)
REFUSED = HttpAnswer(0)

Reply = Callable[[HttpAnswer], object]


class FarEnd(Protocol):
    """A service. `arrive` takes one call now, and calls `reply` when its answer arrives at the client, if there is one."""

    def arrive(self, reply: Reply) -> None: ...


class StatusError(Exception):
    """The service has answered with a refusal. `response` is the answer."""

    def __init__(self, response: HttpAnswer) -> None:
        super().__init__(f"the service answered {response.status_code}")
        self.response = response


class CountingClient:
    """Calls a far end, gives up after `timeout` seconds, and counts: calls and good answers by their seconds, the others by kind."""

    def __init__(self, far_end: FarEnd, timeout: float) -> None:
        self.in_flight = 0
        self.calls: Counter[int] = Counter()  # by the second in which they began
        self.good: Counter[int] = Counter()  # by the second in which their answers came
        self.wasted: Counter[str] = Counter()  # by what came instead
        self._far_end = far_end
        self._timeout = timeout

    async def post(self) -> HttpAnswer:
        """Make one call. Raises StatusError, TimeoutError or ConnectionRefusedError."""
        loop = asyncio.get_running_loop()
        self.calls[int(loop.time())] += 1
        answer: asyncio.Future[HttpAnswer | None] = loop.create_future()
        timer = loop.call_later(self._timeout, _set, answer, None)
        self.in_flight += 1
        try:
            self._far_end.arrive(lambda given: _set(answer, given))
            got = await answer
        finally:
            self.in_flight -= 1
            timer.cancel()
        return self._read(got, int(loop.time()))

    def _read(self, answer: HttpAnswer | None, second: int) -> HttpAnswer:
        if answer is None:
            self.wasted["no answer"] += 1
            raise TimeoutError
        if answer.status_code == REFUSED.status_code:
            self.wasted["refused connection"] += 1
            raise ConnectionRefusedError
        if not answer.is_good:
            self.wasted[str(int(answer.status_code))] += 1
            raise StatusError(answer)
        self.good[second] += 1
        return answer


def _set(answer: asyncio.Future[HttpAnswer | None], given: HttpAnswer | None) -> None:
    if not answer.done():
        answer.set_result(given)
