"""A far end for gRPC: channels that fail in an outage as a real server does, for `grpc` and `grpc.aio`.

    stub = PaymentsStub(AsyncScriptedChannel(payments, {"/bank.Payments/Charge": lambda request: Receipt()}))

Stubs run as they are. Nothing is serialized, and gRPC's core plays no part: its threads would know nothing of virtual time. What hangs ends
by the `timeout` of the call, on virtual time. A call with `wait_for_ready` hangs where another one is refused, and goes on when the outage
is over, as in the real thing.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from typing import Any, Self

import grpc
import grpc.aio

from holdgate.runtime.dependency import Dependency
from holdgate.testing.outages import TOO_MUCH, Answered, Fault, Hung, Refused, ScriptedDependency, raisable

__all__ = ["AsyncScriptedChannel", "ScriptedChannel", "ScriptedRpcError"]

Answers = Mapping[str, Callable[[Any], Any]]


class _FarEnd:
    """The server of a channel: its methods, and its outages."""

    def __init__(self, dependency: Dependency, answers: Answers) -> None:
        self.stand_in = ScriptedDependency(dependency)
        self._answers = answers

    def answer(self, method: str, request: Any) -> Any:
        """Return the answer. Raises LookupError for a method that nobody has given."""
        if method not in self._answers:
            raise LookupError(f"the scripted channel has no answer for {method}, only for {sorted(self._answers)}: add one")
        return self._answers[method](request)


def _waits(fault: Fault, *, wait_for_ready: bool | None) -> bool:
    """Return whether the call waits for its connection."""
    return isinstance(fault, Refused) and bool(wait_for_ready)


_Failure = tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]


def _failure(fault: Fault, *, times_out: bool) -> _Failure:
    """Return code, details and trailing metadata of a call that fails. Raises the exception of the outage."""
    if isinstance(fault, Exception):
        raise raisable(fault)
    if times_out:
        return grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", ()
    if isinstance(fault, Refused):
        return grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses; last error: UNKNOWN: Connection refused", ()
    if not isinstance(fault, Answered):
        return grpc.StatusCode.UNAVAILABLE, "Socket closed", ()
    pushback = () if fault.retry_after is None else (("grpc-retry-pushback-ms", f"{fault.retry_after * 1000:.0f}"),)
    if fault.status == TOO_MUCH:
        return grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests", pushback
    return grpc.StatusCode.UNAVAILABLE, "unavailable", pushback


# -- plain ----------------------------------------------------------------------------------------------------------------------------


class ScriptedRpcError(grpc.RpcError):
    """What a call through a `ScriptedChannel` raises, as gRPC's own: with `code()`, `details()` and `trailing_metadata()`."""

    def __init__(self, failure: _Failure) -> None:
        super().__init__(f"{failure[0].name}: {failure[1]}")
        self._failure = failure

    def code(self) -> grpc.StatusCode:
        return self._failure[0]

    def details(self) -> str:
        return self._failure[1]

    def initial_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def trailing_metadata(self) -> Any:
        return self._failure[2]


class ScriptedChannel(grpc.Channel):
    """A channel for plain stubs.

    - `dependency`: the Dependency whose outages it has.
    - `answers`: by the full name of a method, such as "/bank.Payments/Charge", what gets the request (an iterator where the client
      streams) and returns the response (an iterable where the server streams) while the dependency is up.

    A stub's `future` is not there: it would need threads that virtual time does not know.
    """

    def __init__(self, dependency: Dependency, answers: Answers) -> None:
        self._far_end = _FarEnd(dependency, answers)

    def unary_unary(self, method: str, *_: Any, **__: Any) -> Any:
        return _Method(self._far_end, method)

    def stream_unary(self, method: str, *_: Any, **__: Any) -> Any:
        return _Method(self._far_end, method)

    def unary_stream(self, method: str, *_: Any, **__: Any) -> Any:
        return _Method(self._far_end, method).stream

    def stream_stream(self, method: str, *_: Any, **__: Any) -> Any:
        return _Method(self._far_end, method).stream

    def subscribe(self, callback: Any, try_to_connect: bool | None = False) -> None:
        """Report no change of connectivity: there is no connection."""

    def unsubscribe(self, callback: Any) -> None:
        """Report no change of connectivity."""

    def close(self) -> None:
        """Close nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Method:
    """One method of a plain channel."""

    def __init__(self, far_end: _FarEnd, name: str) -> None:
        self._far_end = far_end
        self._name = name

    def __call__(self, request: Any, timeout: float | None = None, *_: Any, wait_for_ready: bool | None = None, **__: Any) -> Any:
        met = self._far_end.stand_in.meet()
        if met is not None:
            waits = _waits(met.fault, wait_for_ready=wait_for_ready)
            times_out = (waits or isinstance(met.fault, Hung)) and met.hang_in_thread(timeout)
            if times_out or not waits:
                raise ScriptedRpcError(_failure(met.fault, times_out=times_out))
            met.succeeds_late()
        return self._far_end.answer(self._name, request)

    def stream(self, request: Any, timeout: float | None = None, **named: Any) -> Iterator[Any]:
        """Do the call when the first response is asked for."""
        yield from self(request, timeout, **named)


# -- grpc.aio -------------------------------------------------------------------------------------------------------------------------


class AsyncScriptedChannel(grpc.aio.Channel):
    """A channel for stubs of `grpc.aio`.

    - `dependency`: the Dependency whose outages it has.
    - `answers`: by the full name of a method, such as "/bank.Payments/Charge", what gets the request (an iterator where the client
      streams) and returns the response (an iterable where the server streams), async or plain, while the dependency is up.

    A call begins when it is awaited or looped over.
    """

    def __init__(self, dependency: Dependency, answers: Answers) -> None:
        self._far_end = _FarEnd(dependency, answers)

    def unary_unary(self, method: str, *_: Any, **__: Any) -> Any:
        return _AsyncMethod(self._far_end, method)

    def stream_unary(self, method: str, *_: Any, **__: Any) -> Any:
        return _AsyncMethod(self._far_end, method)

    def unary_stream(self, method: str, *_: Any, **__: Any) -> Any:
        return _AsyncMethod(self._far_end, method)

    def stream_stream(self, method: str, *_: Any, **__: Any) -> Any:
        return _AsyncMethod(self._far_end, method)

    async def close(self, grace: float | None = None) -> None:
        """Close nothing."""

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: ARG002 - as in the class above
        is_down = self._far_end.stand_in.is_down()
        return grpc.ChannelConnectivity.TRANSIENT_FAILURE if is_down else grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Return immediately: ask `get_state`."""

    async def channel_ready(self) -> None:
        """Return immediately: a call finds out."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _AsyncMethod:
    """One method of a channel of `grpc.aio`."""

    def __init__(self, far_end: _FarEnd, name: str) -> None:
        self._far_end = far_end
        self._name = name

    def __call__(self, request: Any, *, timeout: float | None = None, wait_for_ready: bool | None = None, **_: Any) -> _AsyncCall:
        return _AsyncCall(self._far_end, self._name, request, timeout, wait_for_ready=wait_for_ready)


class _AsyncCall:
    """One call: await it for a response, or loop over it for a stream of them."""

    def __init__(self, far_end: _FarEnd, name: str, request: Any, timeout: float | None, *, wait_for_ready: bool | None) -> None:
        self._far_end = far_end
        self._name = name
        self._request = request
        self._timeout = timeout
        self._wait_for_ready = wait_for_ready

    def __await__(self) -> Generator[Any, None, Any]:
        return self._response().__await__()

    async def __aiter__(self) -> AsyncIterator[Any]:
        responses = await self._response()
        if hasattr(responses, "__aiter__"):
            async for response in responses:
                yield response
        else:
            for response in responses:
                yield response

    async def _response(self) -> Any:
        met = self._far_end.stand_in.meet()
        if met is not None:
            waits = _waits(met.fault, wait_for_ready=self._wait_for_ready)
            times_out = (waits or isinstance(met.fault, Hung)) and await met.hang(self._timeout)
            if times_out or not waits:
                code, details, trailing = _failure(met.fault, times_out=times_out)
                raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details)
            met.succeeds_late()
        answer = self._far_end.answer(self._name, self._request)
        return await answer if inspect.isawaitable(answer) else answer
