"""What the failures of a real gRPC client are taken for, on sockets and on a real gRPC server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.clients.places import IN_VAIN, PATIENCE, Serve, drop, hang, refusing, serving, talk_nonsense
from tests.clients.verdicts import is_failure, raised

from holdgate import Dependency, Outcome
from holdgate.core import Told
from holdgate.presets import grpc as preset

SOCKETS: dict[str, Serve | None] = {"refused": None, "dropped": drop, "hung": hang, "nonsense": talk_nonsense}
FAILURES = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNKNOWN", "DATA_LOSS")
OWN = (
    *("CANCELLED", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "FAILED_PRECONDITION", "ABORTED"),
    *("OUT_OF_RANGE", "UNIMPLEMENTED", "UNAUTHENTICATED"),
)


async def call(port: int, patience: float, body: bytes = b"?") -> None:
    import grpc

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        await channel.unary_unary("/orders.Orders/Charge")(body, timeout=patience)


def call_plainly(port: int, patience: float) -> None:
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        channel.unary_unary("/orders.Orders/Charge")(b"?", timeout=patience)


@asynccontextmanager
async def server(answer: Callable[[Any], Any]) -> AsyncIterator[int]:
    """A gRPC server whose method does `answer(context)`."""
    import grpc

    async def method(request: bytes, context: Any) -> bytes:
        await answer(context)
        return b"!"

    class AnyMethod(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(method)

    running = grpc.aio.server(options=[("grpc.max_receive_message_length", 1000)])
    running.add_generic_rpc_handlers((AnyMethod(),))
    port = running.add_insecure_port("127.0.0.1:0")
    await running.start()
    try:
        yield port
    finally:
        await running.stop(0)


def aborting(code: str, metadata: tuple[tuple[str, str], ...] = ()) -> Callable[[Any], Any]:
    import grpc

    return lambda context: context.abort(grpc.StatusCode[code], "said so", metadata)


@pytest.mark.parametrize("situation", SOCKETS)
async def test_a_server_that_is_not_there_is_a_failure(situation: str, record: Callable[..., str]) -> None:
    """Refused, dropped, hung, nonsense."""
    serve = SOCKETS[situation]
    async with refusing() if serve is None else serving(serve) as port:
        error = await raised(lambda: call(port, IN_VAIN if situation == "hung" else PATIENCE))
    assert record("grpc", "grpc.aio", "grpcio", situation, error) != "own", repr(error)


@pytest.mark.parametrize("code", FAILURES)
async def test_a_server_that_cannot_now_is_a_failure(code: str, record: Callable[..., str]) -> None:
    """Not there, out of time, too much, broken."""
    async with server(aborting(code)) as port:
        error = await raised(lambda: call(port, PATIENCE))
    assert record("grpc", "grpc.aio", "grpcio", code, error) != "own", repr(error)


@pytest.mark.parametrize("code", OWN)
async def test_a_call_that_the_server_refuses_is_the_messages_own(code: str, record: Callable[..., str]) -> None:
    """What the server says of this one call."""
    async with server(aborting(code)) as port:
        error = await raised(lambda: call(port, PATIENCE))
    assert record("grpc", "grpc.aio", "grpcio", code, error) == "own", repr(error)


async def test_a_method_that_raises_is_a_failure(record: Callable[..., str]) -> None:
    """A Python server says UNKNOWN, as an HTTP server says 500."""

    async def broken(context: Any) -> None:
        raise ValueError

    async with server(broken) as port:
        error = await raised(lambda: call(port, PATIENCE))
    record("grpc", "grpc.aio", "grpcio", "method raises", error)
    assert is_failure(preset, error)


async def test_a_message_that_is_too_large_is_its_own(record: Callable[..., str]) -> None:
    """RESOURCE_EXHAUSTED as well, and no time makes it smaller."""
    async with server(aborting("OK")) as port:
        error = await raised(lambda: call(port, PATIENCE, b"?" * 5000))
    record("grpc", "grpc.aio", "grpcio", "too large", error)
    assert not is_failure(preset, error), repr(error)


async def test_plain_grpc_is_read_as_well() -> None:
    """Its exception is another class with the same methods."""
    import asyncio

    async with refusing() as port:
        error = await raised(lambda: asyncio.to_thread(call_plainly, port, PATIENCE))
    assert is_failure(preset, error)


@pytest.mark.parametrize(("value", "seconds"), [("1500", 1.5), ("-1", None), ("soon", None), ("9" * 20, None)])
async def test_the_servers_push_back_is_read(value: str, seconds: float | None) -> None:
    """Milliseconds in the trailing metadata; negative says nothing of when."""
    async with server(aborting("UNAVAILABLE", (("grpc-retry-pushback-ms", value),))) as port:
        error = await raised(lambda: call(port, PATIENCE))
    assert preset.retry_after(error) == seconds


async def test_a_server_that_is_exhausted_throttles_and_its_push_back_is_told() -> None:
    """RESOURCE_EXHAUSTED is a 429; UNAVAILABLE is not, whatever it asks for."""
    api = Dependency("api", failures=preset.failures)
    async with server(aborting("RESOURCE_EXHAUSTED", (("grpc-retry-pushback-ms", "1500"),))) as port:
        error = await raised(lambda: call(port, PATIENCE))
    assert api.classify(error) is Outcome.THROTTLED
    assert api.told_of(error) == Told(retry_after=1.5)
    async with server(aborting("UNAVAILABLE", (("grpc-retry-pushback-ms", "1500"),))) as port:
        assert api.classify(await raised(lambda: call(port, PATIENCE))) is Outcome.FAILURE


async def test_no_push_back_is_no_wait() -> None:
    """The usual answer has none."""
    async with server(aborting("UNAVAILABLE")) as port:
        error = await raised(lambda: call(port, PATIENCE))
    assert preset.retry_after(error) is None
    assert preset.retry_after(ValueError()) is None
