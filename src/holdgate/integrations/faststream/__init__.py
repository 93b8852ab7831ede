"""A guard inside of a FastStream app: its subscribers are held while what they need is down. Kafka by aiokafka, and RabbitMQ."""

from __future__ import annotations

from holdgate.errors import MissingExtra

try:
    import faststream as _faststream
except ImportError as error:
    raise MissingExtra("faststream is not installed: pip install 'holdgate[faststream]'") from error

from holdgate.integrations.faststream.guarding import FastStreamGuard

del _faststream

__all__ = ["FastStreamGuard"]
