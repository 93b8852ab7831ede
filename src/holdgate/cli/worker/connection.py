"""One question to a running worker: over HTTP, on its port or its local socket.

Only what Python brings is used, so that a probe in a container starts quickly. No redirect is followed, and nothing but the address that
was given is ever asked. The token comes from the environment or a file. It is never an argument, which every user of a machine can read in
the list of processes, and never a part of an address, which ends up in logs.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from holdgate.errors import HoldgateError

# The port that the documentation's examples use.
DEFAULT_URL = "http://127.0.0.1:9099"

# A worker that is alive answers within milliseconds, and one with ten thousand sources within a second.
_WITHIN = 5.0
# Ten thousand sources are four megabytes.
_ANSWER_AT_MOST = 64 * 1024 * 1024


class NoAnswer(HoldgateError):
    """Nobody answers, or it is no worker of holdgate's. The text names the address and what to do."""


class NothingCame(NoAnswer):
    """Somebody was there, and has said nothing for as long as is waited."""


class RefusedByWorker(HoldgateError):
    """The worker has answered that it does not do this. `status` is the HTTP status, the text the worker's own."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _LocalConnection(http.client.HTTPConnection):
    """HTTP over a local socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_WITHIN)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class WorkerConnection:
    """Asks one worker. `path` is that of its local socket, and wins over `url`. `token` None means that none is sent.

    Raises NoAnswer for an address that cannot be one.
    """

    def __init__(self, url: str, path: str | None, token: str | None) -> None:
        self._path = path
        self._token = token
        self.where = url if path is None else path
        try:
            self._parts = urlsplit(url)
            self._port = self._parts.port
        except ValueError:
            raise NoAnswer("the URL cannot be read: write http://127.0.0.1:9099") from None
        if "@" in self._parts.netloc or self._parts.query:
            raise NoAnswer("the URL must have no user, password or query in it: give the token by HOLDGATE_TOKEN or --token-file")
        if path is None and (self._parts.scheme not in ("http", "https") or not self._parts.hostname):
            raise NoAnswer(f"the URL must begin with http:// or https:// and name a host, got {url!r}: write {DEFAULT_URL}")

    def get(self, path: str, *, wanted: tuple[int, ...] = (200,)) -> Any:
        """Return what the worker answers to a question. Raises NoAnswer, and RefusedByWorker for another status than those wanted."""
        return self._ask("GET", path, None, wanted)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Give a command, and return the answer. Raises NoAnswer and RefusedByWorker."""
        return self._ask("POST", path, json.dumps(body).encode(), (200,))

    def frames(self) -> Iterator[Any]:
        """Yield each status of the worker's event stream as it comes, about one a second, until the worker ends it.

        Raises NoAnswer where none comes any more, NothingCame if it was waited for, and RefusedByWorker where the worker gives no stream.
        """
        connection = self._connection()
        try:
            connection.request("GET", self._path_of("/events"), None, self._headers(None) | {"Accept": "text/event-stream"})
            with connection.getresponse() as answer:
                if answer.status != HTTPStatus.OK:
                    raise RefusedByWorker(answer.status, _text_of(json.loads(answer.read(_ANSWER_AT_MOST))))
                kind = b""
                while line := answer.readline(_ANSWER_AT_MOST):
                    field, _, value = line.rstrip(b"\r\n").partition(b": ")
                    if field == b"event":
                        kind = value
                    elif field == b"data" and kind == b"status":
                        yield json.loads(value)
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            silence = NothingCame if isinstance(error, TimeoutError) else NoAnswer
            raise silence(self._silence(error)) from None
        finally:
            connection.close()

    def _path_of(self, path: str) -> str:
        return self._parts.path.rstrip("/") + path if self._path is None else path

    def _ask(self, method: str, path: str, body: bytes | None, wanted: tuple[int, ...]) -> Any:
        connection = self._connection()
        try:
            connection.request(method, self._path_of(path), body, self._headers(body))
            with connection.getresponse() as answer:
                found = json.loads(answer.read(_ANSWER_AT_MOST))
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            raise NoAnswer(self._silence(error)) from None
        finally:
            connection.close()
        if answer.status not in wanted:
            raise RefusedByWorker(answer.status, _text_of(found))
        return found

    def _connection(self) -> http.client.HTTPConnection:
        if self._path is not None:
            return _LocalConnection(self._path)
        host = self._parts.hostname or ""
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(host, self._port, timeout=_WITHIN)
        return http.client.HTTPConnection(host, self._port, timeout=_WITHIN)

    def _headers(self, body: bytes | None) -> dict[str, str]:
        headers = {"Connection": "close", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _silence(self, error: Exception) -> str:
        if isinstance(error, ValueError | http.client.HTTPException | RecursionError):
            return f"what answers at {self.where} is no worker of holdgate's: check the address"
        if isinstance(error, TimeoutError):
            return f"the worker at {self.where} has not answered within {_WITHIN:g} s: it stands still, or the address is another's"
        why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        return (
            f"no worker answers at {self.where} ({why}): is it running, with Guard(control=Control(...))? "
            "--url or --socket name another address"
        )


def read_token(file: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the token of `file`, else the one of HOLDGATE_TOKEN; None means that there is none. Raises NoAnswer for a bad one."""
    if file is None:
        token = environment.get("HOLDGATE_TOKEN")
        where = "HOLDGATE_TOKEN"
    else:
        where = f"the token's file {file!r}"
        try:
            token = Path(file).read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise NoAnswer(f"{where} cannot be read ({type(error).__name__}): give a text file with the token alone") from None
    if token is not None and (not token or not token.isascii() or not token.isprintable()):
        raise NoAnswer(f"{where} is empty, or has more in it than a token: put the token there, and nothing else")
    return token


def _text_of(answer: Any) -> str:
    if isinstance(answer, dict) and "error" in answer:
        return str(answer["error"])  # pyright: ignore[reportUnknownArgumentType] - JSON of a worker
    return "the worker gives no reason"
