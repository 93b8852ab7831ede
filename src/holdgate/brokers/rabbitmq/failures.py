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


class ConsumerCancelled(Exception):
    """The broker took the consumer away. It gives no reason; these are the ones that there are."""

    def __init__(self) -> None:
        super().__init__(
            "the broker cancelled the consumer: its queue was deleted or moved, or a message was out for longer than the consumer timeout"
        )


def words_of(error: BaseException | None) -> str:
    """What a channel ended with, for a log line: never a bare None or an error without a word."""
    if error is None:
        return "the connection went away, or the broker gave no reason"
    return f"{type(error).__name__}: {error}" if str(error) else f"{type(error).__name__}, without a word of why"


def no_connection(error: BaseException, where: str) -> str:
    """Why there is no connection to `where`, and what to do."""
    if isinstance(error, ProbableAuthenticationError):
        return f"the broker at {where} refuses this user or password: check the URL, and that the user may log in from this host"
    if isinstance(error, UNEXPECTED_FRAME) and "Connection.OpenOk" in str(error):
        # aiormq tells a refused virtual host as a frame that it did not expect.
        return f"the broker at {where} refuses the virtual host: check its name in the URL, and that this user has permissions in it"
    return f"no RabbitMQ broker answers at {where} ({error!r}): check host, port and TLS, and that the broker is up"


def end_of_intake(error: BaseException, queue: str, need: str = "read") -> IntakeError | None:
    """The error to end the intake with; None for one that may pass. `need` is the permission that the call takes."""
    if isinstance(error, IntakeError):
        return error
    text = _meaning(error, queue, need)
    return None if text is None else IntakeError(text)


def exclusive_here(queue: str) -> IntakeError:
    """The error for a queue that this very connection holds exclusively; it looks like one of another connection in its own refusal."""
    return IntakeError(
        f"queue {queue!r} is exclusive to the connection that was given: when that one is lost it is deleted, with everything that waits; "
        "declare it without exclusive=True"
    )


def _meaning(error: BaseException, queue: str, need: str) -> str | None:
    if isinstance(error, ChannelNotFoundEntity):
        # A durable queue whose node is down is "not found" as well, and comes back.
        return f"there is no queue {queue!r}: declare it, or correct the name" if "no queue" in str(error) else None
    if isinstance(error, ChannelLockedResource):
        return f"queue {queue!r} is exclusive to another connection: it goes with that connection, declare it without exclusive=True"
    if isinstance(error, ChannelAccessRefused):
        if "exclusive use" in str(error):
            return f"queue {queue!r} has an exclusive consumer: stop that one, or let it consume without exclusive=True"
        return f"not authorised to {need} queue {queue!r}: give this user {need} permission on it ({error})"
    return None
