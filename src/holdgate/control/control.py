"""Control: the settings of a control plane, and its life beside a guard.

`Guard(control=Control(port=9099))` listens from the guard's entry to its end, drain included. Without `port` and `socket` nothing listens,
and `app` is mounted in an ASGI app of your own.

Everything runs on the worker's loop, because what it reads may only be read there. So everything is bounded (views.py, feed.py,
server.py), and whatever fails here is logged and leaves the flow alone.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Sequence
from typing import Any

from holdgate.control.access import Access, check_token
from holdgate.control.app import Desk, Door, make_app
from holdgate.control.feed import EventFeed
from holdgate.control.peers import Peers, check_peers
from holdgate.control.server import HttpServer
from holdgate.control.views import Views
from holdgate.errors import SettingsError
from holdgate.flow.events import AnyEvent
from holdgate.flow.history import LastEvents
from holdgate.ports import Controllable

log = logging.getLogger("holdgate")

_PORT_AT_MOST = 65535
# What every Unix has room for in a socket's address.
_PATH_AT_MOST = 100


class Control:
    """What shows one guard over HTTP and takes commands for it: `Guard(control=Control(port=9099))`.

    - `port`: listens there while the guard is entered, from 0; 0 means any free one. None means that it does not listen on a port.
    - `host`: the address to listen on, or "localhost". Another than loopback needs a `token`.
    - `socket`: the path of a local socket to listen on, which only this user may open. None means none.
    - `token`: what commands must bring, at least 16 characters. None means that there are no commands.
    - `read_token`: what reading must bring. None means that everybody reads who reaches the port. The probes never need one.
    - `name`: what the worker calls itself. None means its host and process.
    - `peers`: addresses of other workers, "http://worker-2:9099", whose status the page shows beside this one's. They must have the same
      `read_token`. A name that stands for many addresses means all of them.

    Belongs to one guard. Raises SettingsError for values that make no sense, and, on entering the guard, for a port that is taken.
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",  # who can run programs on this machine can ask; nobody else
        socket: str | os.PathLike[str] | None = None,
        token: str | None = None,
        read_token: str | None = None,
        name: str | None = None,
        peers: Sequence[str] = (),
    ) -> None:
        address = _check_host(host)
        commands = check_token("token", token)
        loopback = ipaddress.ip_address(address).is_loopback
        if port is not None and commands is None and not loopback:
            raise SettingsError(
                f"control: host={host!r} is reached from other machines, and there is no token: give Control(token=...), "
                "or listen on loopback"
            )
        access = Access(commands, check_token("read_token", read_token))
        self._name = _check_name(name)
        self._history = LastEvents()
        self._feed = EventFeed()
        self._peers = Peers(check_peers(peers), read_token)
        self._desk = Desk(access, self._feed, self._peers)
        app = make_app(self._desk)
        self._app = Door(app, loopback=False)
        self._address = f"[{address}]" if ":" in address else address
        self._server = HttpServer(Door(app, loopback=loopback), address, _check_port(port), _check_path(socket))
        self._views: Views | None = None
        self._has_begun = False

    @property
    def app(self) -> Any:
        """The ASGI app, to be mounted in another: `outer.mount("/holdgate", control.app)`. It needs no lifespan."""
        return self._app

    @property
    def url(self) -> str | None:
        """Where it listens now, with the port that it got; None while it listens on none."""
        port = self._server.port
        return None if port is None else f"http://{self._address}:{port}"

    # -- what the guard calls ---------------------------------------------------------------------------------------------------------

    def opened(self, guard: Controllable) -> None:
        """Begin to listen. Called by the guard. Raises SettingsError."""
        if self._has_begun:
            raise SettingsError("control: a Control belongs to one guard: make a new one")
        self._has_begun = True
        self._server.start()
        self._views = Views(guard, self._history, self._name)
        self._desk.begin(guard, self._views)
        if self.url is not None:
            log.info("control: listening on %s", self.url)

    def note(self, event: AnyEvent) -> None:
        """Take one event of the guard. Called by the guard."""
        self._history.note(event)
        self._feed.note(event)
        if self._views is not None:
            self._views.expire()

    async def closed(self) -> None:
        """End every stream and stop listening, within two seconds. Called by the guard."""
        self._feed.end()
        self._peers.end()
        await self._server.close()


def _check_host(host: object) -> str:
    """Return the address. Names are not looked up: a resolver may block, and may answer otherwise the next time."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host)) if isinstance(host, str) else _refuse_host(host)
    except ValueError:
        return _refuse_host(host)


def _refuse_host(host: object) -> str:
    raise SettingsError(f'control: host must be an address or "localhost", got {host!r}: give "127.0.0.1", or "0.0.0.0" for every one')


def _check_port(port: object) -> int | None:
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= _PORT_AT_MOST):
        raise SettingsError(f"control: port must be a whole number from 0 to {_PORT_AT_MOST}, got {port!r}: give 9099, or leave it out")
    return port


def _check_path(path: str | os.PathLike[str] | None) -> str | None:
    if path is None:
        return None
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text or len(os.fsencode(text)) > _PATH_AT_MOST:
        raise SettingsError(f"control: socket must be a path of 1 to {_PATH_AT_MOST} bytes, got {path!r}: sockets have no longer names")
    return text


def _check_name(name: object) -> str | None:
    if name is not None and (not isinstance(name, str) or not name.strip() or not name.isprintable()):
        raise SettingsError(f"control: name must be one line of text, got {name!r}: leave it out for the host and the process")
    return name
