"""A guard inside of a Celery worker on RabbitMQ: its tasks are held while what they need is down."""

from __future__ import annotations

from holdgate.errors import MissingExtra
from holdgate.slips import other_version as _other_version

try:
    import celery as _celery
except ImportError as error:
    raise MissingExtra("celery is not installed: pip install 'holdgate[celery]'") from error

# As the extra `celery` in pyproject.toml has it.
if _why := _other_version("celery", (5, 7), (5, 8)):
    raise MissingExtra(f"holdgate.integrations.celery {_why}: pip install 'holdgate[celery]'")

from holdgate.integrations.celery.guarding import CeleryGuard

del _celery, _other_version, _why

__all__ = ["CeleryGuard"]
