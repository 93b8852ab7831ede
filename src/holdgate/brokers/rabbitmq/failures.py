"""What an error of the client means: the end of the intake, with a remedy, or something that passes."""

from __future__ import annotations

from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ProbableAuthenticationError,
)

from holdgate.brokers.rabbitmq.older_clients import UNEXPECTED_FRAME
from holdgate.errors import IntakeError


def no_connection(error: BaseException, where: str) -> str:
    """Why there is no connection to `where`, and what to do."""
    if isinstance(error, ProbableAuthenticationError):
        return f"the broker at {where} refuses this user or password: check the URL, and that the user may log in from this host"
    if isinstance(error, UNEXPECTED_FRAME) and "Connection.OpenOk" in str(error):
        # aiormq tells a refused virtual host as a frame that it did not expect.
        return f"the broker at {where} refuses the virtual host: check its name in the URL, and that this user has permissions in it"
    return f"no RabbitMQ broker answers at {where} ({error!r}): check host, port and TLS, and that the broker is up"


def end_of_intake(error: BaseException, queue: str) -> IntakeError | None:
    """The error to end the intake with; None for one that may pass."""
    if isinstance(error, IntakeError):
        return error
    text = _meaning(error, queue)
    return None if text is None else IntakeError(text)


def _meaning(error: BaseException, queue: str) -> str | None:
    if isinstance(error, ChannelNotFoundEntity):
        # A durable queue whose node is down is "not found" as well, and comes back.
        return f"there is no queue {queue!r}: declare it, or correct the name" if "no queue" in str(error) else None
    if isinstance(error, ChannelLockedResource):
        return f"queue {queue!r} is exclusive to another connection: it goes with that connection, declare it without exclusive=True"
    if isinstance(error, ChannelAccessRefused):
        if "exclusive use" in str(error):
            return f"queue {queue!r} has an exclusive consumer: stop that one, or let it consume without exclusive=True"
        return f"not authorised to read queue {queue!r}: give this user read permission on it ({error})"
    return None
