"""The server of a control plane: uvicorn in a task of the worker's own loop, bounded so that no client can harm the worker.

The sockets are bound here and not by uvicorn, in one synchronous step when the guard is entered: a port that is taken is an error at the
start, before anything is consumed. A worker that went on without would be found out at three in the morning, when somebody asks it.

What a client could do to the worker, and what is done about it:

- hold connections open without a request, or send one for ever: a connection without a complete request is aborted after `_PATIENCE`
- not read what it has asked for: a response whose app has ended, and that is not taken, is aborted after `_PATIENCE`
- open thousands of connections, until the process has no file left for its broker: `_CONNECTIONS_AT_MOST`
- ask for a large document on all of them, and take none: it is sent in pieces, the next when one was taken (app.py)
- fill the log with bad requests: uvicorn's complaints about requests are not logged, and neither is what it cannot answer

uvicorn takes SIGINT and SIGTERM while it serves. Here the guard decides about signals, so the server takes none.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from holdgate.errors import SettingsError
from holdgate.tasks import run_beside

log = logging.getLogger("holdgate")

# A client on the same network sends a request and reads its answer within milliseconds (seconds).
_PATIENCE = 10.0
# A hundred event streams, probes, scrapers and the command line. A process usually may have 1,024 files.
_CONNECTIONS_AT_MOST = 200
# A request's head: a token, an origin, and what browsers add.
_HEAD_AT_MOST = 16 * 1024
# How long an end waits for answers under way; what is not over then is cut off (seconds).
_END_WITHIN = 1
_BACKLOG = 128

# Complaints of uvicorn about what a client has sent. Anybody who reaches the port could fill the log with them.
_unheard = logging.getLogger("holdgate.control.unheard")
_unheard.addFilter(lambda _: False)  # a level, a handler or `propagate` would be reset by a user's logging.config


class Connection(H11Protocol):
    """One client's connection, watched so that it cannot be held for ever. See the head of this file."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.logger = _unheard
        self._idle_since = 0.0
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's own type
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        if len(self.connections) > _CONNECTIONS_AT_MOST:
            transport.abort()
        else:
            self._watch = self.loop.call_later(_PATIENCE, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except Exception:  # noqa: BLE001 - a 400 to a HEAD, for one, which cannot be sent: asyncio would log it with what the client has sent
            self.transport.abort()

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def _look(self) -> None:
        answering = bool(self.cycle) and not self.cycle.response_complete  # before the first request it is None
        left = self._idle_since + _PATIENCE - self.loop.time()
        if self.transport.is_closing() or (not answering and left <= 0):
            self.transport.abort()
            return
        self._watch = self.loop.call_later(_PATIENCE if answering else max(left, 0.1), self._look)


class _Quiet(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class HttpServer:
    """Serves `app` on a port, a local socket, or both. `port` None means no port, 0 any free one; `path` None means no local socket."""

    def __init__(self, app: Any, host: str, port: int | None, path: str | None) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._path = path
        self._identity: tuple[int, int] | None = None  # of the local socket's file, so that only our own is removed
        self._sockets: list[socket.socket] = []
        self._server: _Quiet | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int | None:
        """The port that it listens on; None means none."""
        return next((bound.getsockname()[1] for bound in self._sockets if bound.family != socket.AF_UNIX), None)

    def start(self) -> None:
        """Bind, and serve in a task. Raises SettingsError where something cannot be bound; then nothing is."""
        try:
            if self._port is not None:
                self._sockets.append(_bind_port(self._host, self._port))
            if self._path is not None:
                self._sockets.append(self._bind_path(self._path))
        except BaseException:
            self._release()
            raise
        config = uvicorn.Config(
            self._app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_END_WITHIN,
            h11_max_incomplete_event_size=_HEAD_AT_MOST,
        )
        self._server = _Quiet(config)
        self._task = run_beside(self._serve(self._server), "control server", _failed)

    async def close(self) -> None:
        """Stop listening, let answers under way end, and cut off what does not. Takes two seconds at most."""
        try:
            if self._server is not None and self._task is not None:
                self._server.should_exit = True
                await asyncio.wait({self._task}, timeout=2 * _END_WITHIN)
        finally:
            self._cut_off()
            self._release()

    async def _serve(self, server: _Quiet) -> None:
        try:
            await server.serve(sockets=self._sockets)
        except SystemExit as exit_:  # out of a task it would end the worker
            raise RuntimeError(f"uvicorn gave up with {exit_.code}") from None

    def _cut_off(self) -> None:
        if self._server is not None:
            for connection in list(self._server.server_state.connections):
                transport: asyncio.Transport | None = getattr(connection, "transport", None)
                if transport is not None:
                    transport.abort()
        if self._task is not None:
            self._task.cancel()

    def _release(self) -> None:
        for bound in self._sockets:
            bound.close()
        self._sockets.clear()
        if self._path is not None and self._identity is not None and _identity(self._path) == self._identity:
            Path(self._path).unlink(missing_ok=True)
        self._identity = None

    def _bind_path(self, path: str) -> socket.socket:
        _make_way(path)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Only this user may ask; the mask is the process's, and nothing else runs in this step of the loop.
        before = os.umask(0o177)
        try:
            bound.bind(path)
            bound.listen(_BACKLOG)
        except OSError as error:
            bound.close()
            raise SettingsError(f"control: socket={path!r} cannot be made ({_why(error)}): give a path in a folder of your own") from None
        finally:
            os.umask(before)
        self._identity = _identity(path)
        return bound


def _bind_port(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(_BACKLOG)  # now: two sockets that only are bound could share the port
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(
                f"control: port {port} on {host} is taken: end the other process, or give Control(port=...) another"
            ) from None
        raise SettingsError(
            f"control: port {port} on {host} cannot be opened ({_why(error)}): give Control another host= or port="
        ) from None
    return bound


def _make_way(path: str) -> None:
    """Remove the socket of a process that is gone. Raises SettingsError where somebody listens, or something else stands there."""
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise SettingsError(f"control: socket={path!r} is there already, and is no socket: give another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(_END_WITHIN)
        try:
            caller.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
        except OSError as error:
            raise SettingsError(f"control: socket={path!r} cannot be taken over ({_why(error)}): give another path") from None
    raise SettingsError(f"control: another process listens on socket={path!r}: end it, or give another path")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _failed(error: BaseException) -> None:
    log.error("control: the server has ended with %s; the worker goes on without it", type(error).__name__)
