"""A guard inside of a FastStream app: its subscribers are held while what they need is down. Kafka by aiokafka, and RabbitMQ."""

from __future__ import annotations

from holdgate.errors import MissingExtra
from holdgate.slips import other_version as _other_version

try:
    import faststream as _faststream
except ImportError as error:
    raise MissingExtra("faststream is not installed: pip install 'holdgate[faststream]'") from error

# As the extra `faststream` in pyproject.toml has it.
if _why := _other_version("faststream", (0, 7, 8), (0, 8)):
    raise MissingExtra(f"holdgate.integrations.faststream {_why}: pip install 'holdgate[faststream]'")

from holdgate.integrations.faststream.guarding import FastStreamGuard

del _faststream, _other_version, _why

__all__ = ["FastStreamGuard"]
