"""Who may do what over HTTP: tokens, and requests that a browser sends on behalf of a foreign page.

Reading and commanding are apart. `token` is for commands, and without it there are none. `read_token` is for reading; without it everybody
reads who reaches the port, because what is read has no payload in it, and a scraper or a probe often cannot send a token. The probes never
ask for one.

A browser is the way by which a foreign page could reach a port that listens on loopback alone. Three things close it. A command needs the
token, which no foreign page knows. A command with an `Origin` must come from the page's own origin. And a server on loopback answers only
requests that name a loopback host, so that a name of an attacker's that points to 127.0.0.1 reads nothing ("DNS rebinding").

Of a token only its digest is kept, so that no repr, traceback or dump of memory shows it. Digests are compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from holdgate.errors import SettingsError

# A token of fewer characters can be guessed by trying: 16 of a hex digit's are 64 bits.
_TOKEN_AT_LEAST = 16
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Denied(Exception):
    """A request that is answered with `status` and `text` instead of what it asks for."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def check_token(name: str, token: object) -> bytes | None:
    """Return the digest of a token, None for None. Raises SettingsError for one that is empty, short, or cannot be a header."""
    if token is None:
        return None
    remedy = 'make one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`, or leave it out'
    if not isinstance(token, str):
        raise SettingsError(f"{name} must be text, got {type(token).__name__}: {remedy}")
    if not token:
        raise SettingsError(f"{name} is empty, so nothing would be protected. Is the variable or file that it comes from there? {remedy}")
    if len(token) < _TOKEN_AT_LEAST or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError(f"{name} must be at least {_TOKEN_AT_LEAST} ASCII characters without spaces, got {len(token)}: {remedy}")
    return _digest(token)


class Access:
    """Decides what a request may do. `commands` and `reads` are digests of tokens; None means no commands, and reads for everybody."""

    def __init__(self, commands: bytes | None, reads: bytes | None) -> None:
        self._commands = commands
        self._reads = reads

    def check_read(self, headers: Mapping[str, str]) -> None:
        """Raise Denied unless this request may read. A token for commands may read, too."""
        if self._reads is not None and not _bears(headers, self._reads, self._commands):
            raise Denied(401, "reading needs the token: send it as `Authorization: Bearer TOKEN`")

    def check_command(self, headers: Mapping[str, str], query: str) -> None:
        """Raise Denied unless this request may command."""
        if self._commands is None:
            raise Denied(403, "this worker takes no commands: give Control(token=...) to allow them")
        if query:
            raise Denied(400, "a command takes no query: send the token as `Authorization: Bearer TOKEN`, and the rest as JSON")
        if not _is_same_origin(headers):
            raise Denied(403, "a page of another origin may give no commands here")
        if not _bears(headers, self._commands):
            raise Denied(401, "commands need the token: send it as `Authorization: Bearer TOKEN`")


def check_host(headers: Mapping[str, str]) -> None:
    """Raise Denied for a request by a name that is not this machine's, on a server that only this machine may ask."""
    if _name_of(headers.get("host", "")) not in _LOOPBACK_NAMES:
        raise Denied(421, "this worker answers on loopback only: ask for http://127.0.0.1, or give Control(host=...) and a token")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _bears(headers: Mapping[str, str], *digests: bytes | None) -> bool:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    given = _digest(token.strip())
    # All are compared, whichever fits: the time says nothing.
    fits = [hmac.compare_digest(given, digest) for digest in digests if digest is not None]
    return scheme.lower() == "bearer" and any(fits)


def _is_same_origin(headers: Mapping[str, str]) -> bool:
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = headers.get("origin")
    # The scheme may differ behind a proxy that ends TLS. The host may not.
    return origin is None or origin.partition("://")[2] == headers.get("host", "")


def _name_of(host: str) -> str:
    """Return a Host header's name without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()
