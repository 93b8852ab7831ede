"""Which exceptions of Kafka clients are the failures of a cluster that one publishes to: aiokafka, kafka-python, confluent-kafka.

It is not for the cluster that a guard consumes from: the intake looks after that connection itself. Kafka's protocol says of each error
whether it may be tried again (https://kafka.apache.org/protocol#protocol_error_codes), and the clients carry that along.
"""

from __future__ import annotations

from holdgate import network
from holdgate.network import attribute, known_in
from holdgate.signs import recognised_by
from holdgate.slips import passed_uncalled

_CLIENTS = ("aiokafka", "kafka")
# Not marked as retriable there, and trouble of the cluster or of our login all the same: no answer in time, no broker at all.
_is_trouble = known_in(
    _CLIENTS,
    {
        *("KafkaTimeoutError", "KafkaUnavailableError", "KafkaConnectionError", "NoBrokersAvailable", "BrokerNotAvailableError"),
        *("RequestTimedOutError", "NotEnoughReplicasError", "AuthenticationFailedError", "SaslAuthenticationFailed"),
        *("ReplicaNotAvailableError", "UnknownError", "QuotaViolationError", "ThrottlingQuotaExceededError"),
    },
)
_is_quota = known_in(_CLIENTS, {"QuotaViolationError", "ThrottlingQuotaExceededError"})
_CONFLUENT_QUOTA = "THROTTLING_QUOTA_EXCEEDED"
# Marked as retriable because metadata may be late; that a topic is not there is the message's own. aiokafka says so, too, when no broker
# answered in time (findings/aiokafka_unknown_topic_in_an_outage.sh): with it this is a failure, and a message that names a topic of its own
# is told from an outage by its neighbours.
_is_own = known_in(("kafka",), {"UnknownTopicOrPartitionError"})

# confluent-kafka: a KafkaException holds a KafkaError, which is not an exception, with a name and a number. Names that begin with an
# underscore are librdkafka's own; of those, the ones about the connection.
_CONFLUENT = frozenset(
    {
        *(
            "_TRANSPORT",
            "_ALL_BROKERS_DOWN",
            "_TIMED_OUT",
            "_MSG_TIMED_OUT",
            "_TIMED_OUT_QUEUE",
            "_RESOLVE",
            "_QUEUE_FULL",
            "_AUTHENTICATION",
        ),
        *("_SSL", "_ISR_INSUFF", "_WAIT_COORD", "_WAIT_CACHE"),
    }
)
_CONFLUENT_OWN = frozenset({"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"})


@passed_uncalled("failures=kafka.failures")
def failures(error: BaseException) -> bool:
    """Return whether a client's exception is the cluster's failure: no broker, no leader, not enough replicas, out of time, no login.

    A record that is too large and missing rights are the message's own, and so is a topic that is not there; but not with aiokafka, which
    says that as well when no broker answers.
    """
    kind = type(error)
    if network.failures(error) or _is_trouble(kind):
        return True
    if attribute(error, "retriable") is True:
        return not _is_own(kind)
    return _is_confluent(error.args[0]) if error.args else False


@recognised_by(classes=[_is_quota], reads_argument=True)
@passed_uncalled("throttled=kafka.throttled")
def throttled(error: object) -> bool:
    """Return whether a client's exception says "not so fast": a quota of the cluster is used up.

    A Dependency without `throttled` asks this by itself.
    """
    if not isinstance(error, BaseException):
        return False
    name = attribute(error.args[0], "name") if error.args else None
    return _is_quota(type(error)) or (callable(name) and name() == _CONFLUENT_QUOTA)


def _is_confluent(said: object) -> bool:
    name, retriable = attribute(said, "name"), attribute(said, "retriable")
    if not callable(name) or not callable(retriable):
        return False
    return name() not in _CONFLUENT_OWN and (name() in _CONFLUENT or bool(retriable()))
