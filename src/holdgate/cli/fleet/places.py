"""Where the log of a fleet is: a URL, and what each kind of server makes of it.

A URL names the kind by its scheme, then the server, then the log: `kafka://localhost:9092/holdgate-fleet`. Where the path of a kind's usual
URL means something else, a virtual host or a database, the log is in the query: `amqp://localhost/vhost?stream=holdgate-fleet`,
`redis://localhost/0?key=holdgate-fleet`. Where a kind has a password in its URL, the URL comes from the environment, so that no list of
processes shows it. No text of this file quotes a URL that was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from holdgate.cli.commands import FLEET_VARIABLE, read_options
from holdgate.errors import SettingsError
from holdgate.ports import FleetLog

# What a worker's log is called if nothing else is said.
DEFAULT_NAME = "holdgate-fleet"


class LogMade(Protocol):
    """What making a log came to: whether it is new, and what of an existing one is otherwise than a new one would be."""

    @property
    def is_new(self) -> bool: ...

    @property
    def notes(self) -> Sequence[str]: ...


class CreatableLog(FleetLog, Protocol):
    """A log that the command line can make."""

    async def create(self) -> LogMade: ...


@dataclass(frozen=True, slots=True)
class LogAddress:
    """A URL, taken apart. `server` is what stands between the scheme and the log, a user and a password included. `url` is the whole."""

    scheme: str
    server: str
    name: str
    url: str


def log_at(url: str | None, options: Sequence[str]) -> CreatableLog:
    """Return the log that a URL names, not opened. Raises SettingsError, which does not quote the URL, and MissingExtra.

    - `options`: more settings of the client, as NAME=VALUE.
    """
    address = _read(url)
    make = _KINDS.get(address.scheme)
    if make is None:
        kinds = " or ".join(f"{scheme}://" for scheme in _KINDS)
        raise SettingsError(f"the URL must begin with {kinds}, got {address.scheme}://" if address.scheme else f"a URL begins with {kinds}")
    return make(address, read_options(options))


def _read(url: str | None) -> LogAddress:
    if not url:
        forms = "kafka://HOST:PORT/TOPIC, amqp://HOST/VHOST?stream=NAME or redis://HOST/0?key=NAME"
        raise SettingsError(f"say where the log is: {forms}, as the argument or in {FLEET_VARIABLE}")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise SettingsError("the URL cannot be read: it must be like kafka://HOST:PORT/TOPIC") from error
    return LogAddress(parts.scheme, parts.netloc, unquote(parts.path.strip("/")) or DEFAULT_NAME, url)


def _kafka(address: LogAddress, options: Mapping[str, Any]) -> CreatableLog:
    if not address.server:
        raise SettingsError("the URL has no server: write kafka://HOST:PORT/TOPIC")
    if "@" in address.server:
        raise SettingsError(
            "a kafka:// URL has no user and no password: give them as --option sasl_plain_username=... and "
            "--option sasl_plain_password=env:VARIABLE"
        )
    from holdgate.brokers.kafka import KafkaFleetLog
    from holdgate.cli.letters.kafka import client_options

    # A worker that gets no answer within five seconds asks again by itself; a person would have to begin anew.
    return KafkaFleetLog(bootstrap_servers=address.server, topic=address.name, **{"request_timeout_ms": 15_000, **client_options(options)})


def _rabbitmq(address: LogAddress, options: Mapping[str, Any]) -> CreatableLog:
    url, stream = _taken_out(address.url, "stream", options)
    from holdgate.brokers.rabbitmq import RabbitMQFleetLog

    return RabbitMQFleetLog(url, stream)


def _redis(address: LogAddress, options: Mapping[str, Any]) -> CreatableLog:
    url, key = _taken_out(address.url, "key", options)
    from holdgate.brokers.redis import RedisFleetLog

    return RedisFleetLog(url, key)


def _taken_out(url: str, word: str, options: Mapping[str, Any]) -> tuple[str, str]:
    """Return a URL without this part of its query, and the name of the log that stands there. Raises SettingsError for options."""
    if options:
        raise SettingsError(f"--option is for kafka:// alone, got {', '.join(options)}: write it into the URL, as ?NAME=VALUE")
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    names = [value for name, value in query if name == word]
    rest = urlencode([(name, value) for name, value in query if name != word])
    return urlunsplit(parts._replace(query=rest)), names[-1] if names else DEFAULT_NAME


_KINDS: Mapping[str, Callable[[LogAddress, Mapping[str, Any]], CreatableLog]] = {
    "kafka": _kafka,
    "amqp": _rabbitmq,
    "amqps": _rabbitmq,
    "redis": _redis,
    "rediss": _redis,
    "valkey": _redis,
    "valkeys": _redis,
}
