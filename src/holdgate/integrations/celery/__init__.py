"""A guard inside of a Celery worker on RabbitMQ: its tasks are held while what they need is down."""

from __future__ import annotations

from holdgate.errors import MissingExtra

try:
    import celery as _celery
except ImportError as error:
    raise MissingExtra("celery is not installed: pip install 'holdgate[celery]'") from error

from holdgate.integrations.celery.guarding import CeleryGuard

del _celery

__all__ = ["CeleryGuard"]
