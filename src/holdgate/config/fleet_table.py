"""`[fleet]` of a settings file, with the table of the log that its workers share, and the `Fleet` that is made of both.

Which log it is says the name of the inner table, `[fleet.kafka]`, `[fleet.rabbitmq]` or `[fleet.redis]`, because each has settings of its
own. Only the client of the one that is there is imported.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from holdgate.errors import SettingsError
from holdgate.fleet.settings import FleetSettings
from holdgate.runtime.fleet import Fleet

if TYPE_CHECKING:
    from holdgate.ports import FleetLog

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
# What takes a user and a password. The others of aiokafka need objects of a program.
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

_SASL = ("sasl_plain_username", "sasl_plain_password")
_TLS = ("cafile", "certfile", "keyfile")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaLogTable:
    """`[fleet.kafka]`: a `KafkaFleetLog`. With TLS, `cafile` of None means the certificates of the system."""

    bootstrap_servers: str
    topic: str = "holdgate-fleet"
    security_protocol: SecurityProtocol = "PLAINTEXT"
    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    sasl_mechanism: SaslMechanism = "PLAIN"
    sasl_plain_username: str | None = None
    sasl_plain_password: str | None = None

    def __post_init__(self) -> None:
        if not self.bootstrap_servers or "/" in self.bootstrap_servers:
            raise SettingsError("bootstrap_servers must be host:port, with commas between several; the topic has a setting of its own")
        if not self.topic:
            raise SettingsError("topic must be the name of a topic, got an empty text")
        _check_used(self, _TLS, self._has_tls, "SSL or SASL_SSL")
        _check_used(self, _SASL, self._has_user, "SASL_SSL or SASL_PLAINTEXT")
        missing = next((name for name in _SASL if self._has_user and getattr(self, name) is None), None)
        if missing is not None:
            raise SettingsError(f"security_protocol={self.security_protocol!r} needs {missing}: give it here or in the environment")
        if self.keyfile is not None and self.certfile is None:
            raise SettingsError("keyfile must be given together with certfile, whose key it is")

    def log(self) -> FleetLog:
        """Return the log, not opened. Raises SettingsError, and MissingExtra without the extra `kafka`."""
        from holdgate.brokers.kafka import KafkaFleetLog  # noqa: PLC0415 - brings in a client, for who asks for this log

        options: dict[str, object] = {"security_protocol": self.security_protocol}
        if self._has_user:
            options |= {name: getattr(self, name) for name in ("sasl_mechanism", *_SASL)}
        if self._has_tls:
            options["ssl_context"] = self._tls()
        return KafkaFleetLog(bootstrap_servers=self.bootstrap_servers, topic=self.topic, **options)

    @property
    def _has_tls(self) -> bool:
        return self.security_protocol.endswith("SSL")

    @property
    def _has_user(self) -> bool:
        return self.security_protocol.startswith("SASL_")

    def _tls(self) -> ssl.SSLContext:
        name = "cafile"
        try:
            context = ssl.create_default_context(cafile=self.cafile)
            if self.certfile is not None:
                name = "certfile"
                # An encrypted key would be asked for at the terminal; with a password that is wrong it is an error.
                context.load_cert_chain(self.certfile, self.keyfile, password="")
        except (OSError, ValueError) as error:  # SSLError is an OSError
            reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise SettingsError(f"{name} must be a file of PEM that can be read, without a password: {reason}") from None
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class RabbitMQLogTable:
    """`[fleet.rabbitmq]`: a `RabbitMQFleetLog`. A URL with a password belongs into the environment."""

    url: str
    stream: str = "holdgate-fleet"

    def log(self) -> FleetLog:
        """Return the log, not opened. Raises SettingsError, and MissingExtra without the extra `rabbitmq`."""
        from holdgate.brokers.rabbitmq import RabbitMQFleetLog  # noqa: PLC0415 - as above

        return RabbitMQFleetLog(self.url, self.stream)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisLogTable:
    """`[fleet.redis]`: a `RedisFleetLog`, of Redis or Valkey. A URL with a password belongs into the environment."""

    url: str
    key: str = "holdgate-fleet"

    def log(self) -> FleetLog:
        """Return the log, not opened. Raises SettingsError, and MissingExtra without the extra `redis`."""
        from holdgate.brokers.redis import RedisFleetLog  # noqa: PLC0415 - as above

        return RedisFleetLog(self.url, self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetTable:
    """`[fleet]`: arguments of Fleet, with its defaults, and one of the three logs."""

    name: str = "fleet"
    required: bool = False
    quorum: int = 2
    open_share: float = 0.5
    open_duration_max: float = 30.0
    silence: float = 6.0
    kafka: KafkaLogTable | None = None
    rabbitmq: RabbitMQLogTable | None = None
    redis: RedisLogTable | None = None

    def __post_init__(self) -> None:
        self.settings()
        given = [name for name, table in self._logs().items() if table is not None]
        if not given:
            raise SettingsError("a fleet needs a log: write [fleet.kafka], [fleet.rabbitmq] or [fleet.redis], and in it where the log is")
        if len(given) > 1:
            raise SettingsError(f"a fleet has one log, got {' and '.join(f'[fleet.{name}]' for name in given)}: take all but one out")

    def settings(self) -> FleetSettings:
        """Return what a running worker takes up. Raises SettingsError."""
        return FleetSettings(
            name=self.name, quorum=self.quorum, open_share=self.open_share, open_duration_max=self.open_duration_max, silence=self.silence
        )

    def made(self) -> Fleet:
        """Return a Fleet with a log of its own, not opened. Raises SettingsError, and MissingExtra without the extra of its client."""
        log = next(table for table in self._logs().values() if table is not None).log()
        return Fleet(
            log,
            required=self.required,
            name=self.name,
            quorum=self.quorum,
            open_share=self.open_share,
            open_duration_max=self.open_duration_max,
            silence=self.silence,
        )

    def wrong_in_log(self, words: str) -> tuple[str, ...]:
        """Return the place within this table of the setting that an error of the log's class names; of none, that of the log."""
        kind, table = next((name, table) for name, table in self._logs().items() if table is not None)
        names = {field.name for field in fields(table)}
        named = [word for word in re.findall(r"[a-z_]+", words.lower()) if word in names]
        return (kind, *named[:1])

    def _logs(self) -> Mapping[str, KafkaLogTable | RabbitMQLogTable | RedisLogTable | None]:
        return {"kafka": self.kafka, "rabbitmq": self.rabbitmq, "redis": self.redis}


def _check_used(table: KafkaLogTable, names: tuple[str, ...], is_used: bool, protocols: str) -> None:
    """Raise SettingsError for a setting that would do nothing: somebody thinks that the connection is safer than it is."""
    name = next((each for each in names if getattr(table, each) is not None), None)
    if name is not None and not is_used:
        raise SettingsError(f"{name} must be left out with security_protocol={table.security_protocol!r}: {protocols} has a use for it")
