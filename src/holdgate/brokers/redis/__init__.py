"""Redis and Valkey through redis-py: the log of a fleet."""

from __future__ import annotations

from holdgate.errors import MissingExtra

try:
    import redis as _redis
except ImportError as error:
    raise MissingExtra("redis is not installed: pip install 'holdgate[redis]'") from error

from holdgate.brokers.redis.fleet_log import RedisFleetLog

del _redis

__all__ = ["RedisFleetLog"]
