"""Which exceptions of AMQP clients are the failures of a broker that one publishes to: aio-pika and aiormq, pika and kombu.

It is not for the broker that a guard consumes from: the intake looks after that connection itself.
"""

from __future__ import annotations

from holdgate import network
from holdgate.network import attribute, known_as
from holdgate.slips import passed_uncalled

# No connection, closed by the broker, a channel that went down with it. aiormq's AMQPConnectionErrors are ConnectionErrors as well.
_is_no_answer = known_as(
    {
        "aiormq": {"AMQPConnectionError", "ChannelInvalidStateError"},
        "pika": {"AMQPConnectionError", "AMQPConnectorException", "ChannelWrongStateError", "BlockedConnectionTimeout"},
        "kombu": {"OperationalError", "ConnectionLimitExceeded"},
        "amqp": {"ConnectionError", "RecoverableConnectionError", "MessageNacked"},
    }
)

# Why the broker closed a channel or the connection: an operator did (320), it is out of something (506), it broke (541). Too large (311),
# refused (403), not found (404), locked by another (405), and a precondition that failed (406) are the message's own.
_REPLIES = frozenset({320, 506, 541})

# A publish that the broker did not take. With a nack: its queue is full and rejects (`x-overflow: reject-publish`), or the broker could not
# store it. Returned: no queue for that routing key, the message's own.
_is_not_taken = known_as({"aiormq": {"DeliveryError"}, "pika": {"NackError"}})
_is_returned = known_as({"aiormq": {"PublishError"}})


@passed_uncalled("failures=amqp.failures")
def failures(error: BaseException) -> bool:
    """Return whether a client's exception is the broker's failure: no broker, connection or channel gone, no login, a publish refused by a
    nack.

    A missing exchange, a precondition that failed, a message that is too large or that no queue takes are the message's own.
    """
    kind = type(error)
    if network.failures(error) or _is_no_answer(kind):
        return True
    if _is_not_taken(kind):
        return not _is_returned(kind)
    return attribute(error, "reply_code") in _REPLIES
