from __future__ import annotations

import pytest
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelClosed,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    InvalidFrameError,
)
from pamqp.exceptions import AMQPInternalError

from holdgate.brokers.rabbitmq.client import ConsumerCancelled, as_intake_error, describe_end, explain_no_connection, is_transient
from holdgate.errors import IntakeError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ChannelNotFoundEntity("NOT_FOUND - no queue 'orders' in vhost '/'"), "there is no queue 'orders'"),
        (ChannelLockedResource("RESOURCE_LOCKED"), "'orders' is exclusive to another connection"),
        (ChannelAccessRefused("ACCESS_REFUSED - queue 'orders' in vhost '/' in exclusive use"), "has an exclusive consumer"),
        (ChannelAccessRefused("ACCESS_REFUSED - read access to queue"), "not authorised to read queue 'orders'"),
    ],
)
def test_what_ends_an_intake(error: Exception, text: str) -> None:
    """What a person must change is told with the queue's name."""
    assert text in str(as_intake_error(error, "orders"))


@pytest.mark.parametrize(
    "error",
    [
        ChannelNotFoundEntity("NOT_FOUND - home node 'a@b' of durable queue 'orders' in vhost '/' is down or inaccessible"),
        ChannelPreconditionFailed("PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out"),
        ChannelClosed(541, "INTERNAL_ERROR"),
        OSError("reset"),
    ],
)
def test_what_passes(error: Exception) -> None:
    """A broker that restarts, a timeout, a broken connection: tried again."""
    assert as_intake_error(error, "orders") is None


def test_what_it_takes_to_declare_is_not_what_it_takes_to_read() -> None:
    """The permission that the failed call needs is the one to ask for."""
    error = ChannelAccessRefused("ACCESS_REFUSED - access to queue 'orders' in vhost '/' refused for user 'u'")
    assert "give this user configure permission" in str(as_intake_error(error, "orders", "configure"))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (None, "the connection was lost, or the broker gave no reason"),
        (OSError("reset by peer"), "OSError: reset by peer"),
        (Exception(), "Exception, without a reason"),
        (ConsumerCancelled(), "ConsumerCancelled: the broker cancelled the consumer: its queue was deleted"),
    ],
)
def test_an_end_is_told_in_words(error: BaseException | None, text: str) -> None:
    """Never as None, or as an error that says nothing."""
    assert describe_end(error).startswith(text)


def test_an_end_stays_the_same_end() -> None:
    """An IntakeError is handed on as it is."""
    error = IntakeError("the connection was closed")
    assert as_intake_error(error, "orders") is error


@pytest.mark.parametrize("kind", [InvalidFrameError, AMQPInternalError])
def test_a_refused_virtual_host_is_told_by_every_client(kind: type[Exception]) -> None:
    """It comes as a frame that aiormq did not expect: from 7.2 on with an error of its own, before with one of its codec's."""
    error = kind("one of ['Connection.OpenOk']", "Connection.Close")
    assert "refuses the virtual host" in explain_no_connection(error, "localhost:5672/nowhere")
    assert is_transient(error)


def test_a_frame_nobody_expected_is_no_virtual_host() -> None:
    """Only the answer to opening one is taken for that."""
    assert "virtual host" not in explain_no_connection(InvalidFrameError("Expected one of ['Connection.Tune'], got ..."), "localhost:5672/")
