"""Which exceptions of Redis, gRPC, AWS, search, MongoDB, SMTP, AMQP and Kafka clients are failures, beside what tests/clients shows.

The clients are not installed here: what is tried is what an exception must carry to be known, and what must not be taken for it.
"""

from __future__ import annotations

import smtplib
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from holdgate.core import Told
from holdgate.presets import amqp, aws, grpc, kafka, mongo, redis, search, smtp

PRESETS = (redis, grpc, aws, search, mongo, smtp, amqp, kafka)


def error(name: str, module: str, *args: object, **carried: Any) -> Exception:
    """An exception of a client that is not installed here."""
    made = type(name, (Exception,), {"__module__": module})(*args)
    for key, value in carried.items():
        setattr(made, key, value)
    return made


class Code(Enum):
    """A gRPC status code."""

    UNAVAILABLE = 14
    RESOURCE_EXHAUSTED = 8
    NOT_FOUND = 5


def unavailable() -> Code:
    return Code.UNAVAILABLE


def not_over() -> Code:
    raise RuntimeError


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.__name__)
def test_every_preset_knows_a_network_that_is_gone_and_no_bug(preset: ModuleType) -> None:
    """Python's own errors are the same for all."""
    assert preset.failures(ConnectionResetError())
    assert preset.failures(TimeoutError())
    assert not preset.failures(ValueError("bug"))
    assert not preset.failures(KeyError())


@pytest.mark.parametrize(
    ("preset", "raised", "verdict"),
    [
        (redis, error("ResponseError", "redis.exceptions", "LOADING Redis is loading"), True),
        (redis, error("ResponseError", "redis.exceptions", "ERR syntax error"), False),
        (redis, error("ConnectionError", "coredis.exceptions"), True),
        (redis, error("ResponseError", "elsewhere", "LOADING"), False),
        (grpc, error("AioRpcError", "grpc.aio", code=unavailable), True),
        (grpc, error("GRPCError", "grpclib.exceptions", status=Code.UNAVAILABLE), True),
        (grpc, error("GRPCError", "grpclib.exceptions", status=Code.NOT_FOUND), False),
        (grpc, error("StreamTerminatedError", "grpclib.exceptions"), True),
        (grpc, error("FutureTimeoutError", "grpc"), True),
        (grpc, error("AioRpcError", "grpc.aio", code=not_over), False),
        (aws, error("ClientError", "botocore.exceptions", response={"Error": {"Code": "SlowDown"}}), True),
        (aws, error("ClientError", "botocore.exceptions", response={"ResponseMetadata": {"HTTPStatusCode": 503}}), True),
        (aws, error("WaiterError", "botocore.exceptions", last_response={"ResponseMetadata": {"HTTPStatusCode": 503}}), True),
        (aws, error("WaiterError", "botocore.exceptions", last_response={"ResponseMetadata": {"HTTPStatusCode": 404}}), False),
        (aws, error("ClientError", "botocore.exceptions", response={"Error": "nonsense", "ResponseMetadata": None}), False),
        (aws, error("HTTPClientError", "botocore.exceptions"), True),
        (aws, error("CredentialRetrievalError", "botocore.exceptions"), True),
        (search, error("ApiError", "elastic_transport", meta=SimpleNamespace(status=429)), True),
        (search, error("BulkIndexError", "elasticsearch.helpers", errors=[{"index": {"status": 503}}]), True),
        (search, error("BulkIndexError", "elasticsearch.helpers", errors=[{"index": {"status": 400}}, "nonsense", {"index": None}]), False),
        (search, error("BulkIndexError", "elasticsearch.helpers", errors=None), False),
        (mongo, error("OperationFailure", "pymongo.errors", code=11000, has_error_label=lambda label: False), False),
        (mongo, error("OperationFailure", "pymongo.errors", code=1, has_error_label=lambda label: label == "RetryableWriteError"), True),
        (mongo, error("BulkWriteError", "pymongo.errors", details={"writeErrors": "nonsense", "writeConcernErrors": ["nonsense"]}), False),
        (mongo, error("PyMongoError", "pymongo.errors", timeout=True), True),
        (smtp, smtplib.SMTPServerDisconnected(), True),
        (smtp, smtplib.SMTPRecipientsRefused({"a@example.com": (550, b"unknown"), "b@example.com": (451, b"later")}), True),
        (smtp, smtplib.SMTPRecipientsRefused({"a@example.com": (550, b"unknown")}), False),
        (smtp, smtplib.SMTPDataError(452, b"full"), True),
        (smtp, smtplib.SMTPDataError(554, b"spam"), False),
        (smtp, smtplib.SMTPNotSupportedError(), False),
        (amqp, error("ChannelInvalidStateError", "aiormq.exceptions"), True),
        (amqp, error("ConnectionInternalError", "elsewhere", reply_code=541), True),
        (amqp, error("NackError", "pika.exceptions"), True),
        (amqp, error("UnroutableError", "pika.exceptions"), False),
        (amqp, error("OperationalError", "kombu.exceptions"), True),
        (kafka, error("NotLeader", "aiokafka.errors", retriable=True), True),
        (kafka, error("UnknownTopicOrPartitionError", "aiokafka.errors", retriable=True), True),
        (kafka, error("UnknownTopicOrPartitionError", "kafka.errors", retriable=True), False),
        (kafka, error("KafkaTimeoutError", "aiokafka.errors", retriable=False), True),
        (kafka, error("MessageSizeTooLargeError", "aiokafka.errors", retriable=False), False),
    ],
    ids=lambda value: repr(value) if isinstance(value, Exception) else None,
)
def test_an_exception_is_known_by_what_it_carries(preset: ModuleType, raised: Exception, verdict: bool) -> None:
    """By class and library, code, number, reply or status."""
    assert preset.failures(raised) is verdict


@pytest.mark.parametrize(("value", "seconds"), [("1500", 1.5), ("-1", None), ("soon", None), ("9" * 20, None)])
def test_grpcs_push_back_is_in_milliseconds(value: str, seconds: float | None) -> None:
    """Negative and nonsense say nothing of when."""
    raised = error("AioRpcError", "grpc.aio", trailing_metadata=lambda: (("other", b"1"), ("grpc-retry-pushback-ms", value)))
    assert grpc.retry_after(raised) == seconds
    assert grpc.retry_after(ValueError()) is None


def test_the_waits_of_aws_and_search_are_those_of_http() -> None:
    """From the headers, wherever the client keeps them."""
    metadata = {"HTTPStatusCode": 503, "HTTPHeaders": {"x-amz-retry-after": "2500"}}
    assert aws.retry_after(error("ClientError", "botocore.exceptions", response={"ResponseMetadata": metadata})) == 2.5
    assert aws.retry_after(ConnectionError()) is None
    assert search.retry_after(error("ApiError", "elastic_transport", meta=SimpleNamespace(status=429, headers={"Retry-After": "7"}))) == 7.0
    assert search.retry_after(ConnectionError()) is None


def exhausted() -> Code:
    return Code.RESOURCE_EXHAUSTED


def of_aws(status: int, code: str, **headers: str) -> Exception:
    return error(
        "ClientError",
        "botocore",
        response={"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers}},
    )


def of_confluent(name: str) -> Exception:
    return error("KafkaException", "confluent_kafka", SimpleNamespace(name=lambda: name, retriable=lambda: True))


@pytest.mark.parametrize(
    ("preset", "raised", "expected"),
    [
        (grpc, error("RpcError", "grpc", code=exhausted), True),
        (grpc, error("RpcError", "grpc", code=exhausted, details=lambda: "Received message larger than max (5 vs. 4)"), False),
        (grpc, error("RpcError", "grpc", code=unavailable), False),
        (grpc, error("RpcError", "grpc", code=not_over), False),
        (aws, of_aws(400, "ThrottlingException"), True),
        (aws, of_aws(503, "SlowDown"), True),
        (aws, of_aws(429, "Any"), True),
        (aws, of_aws(503, "ServiceUnavailable"), False),
        (aws, ConnectionError(), False),
        (redis, error("ConnectionError", "redis.exceptions", "max number of clients reached"), True),
        (redis, error("ResponseError", "coredis.exceptions", "max number of clients reached"), True),
        (redis, error("MaxConnectionsError", "redis.exceptions", "Too many connections"), True),
        (redis, error("ConnectionError", "redis.exceptions", "No connection available."), True),
        (redis, error("ConnectionError", "redis.exceptions", "Connection closed by server."), False),
        (redis, error("ConnectionError", "elsewhere", "max number of clients reached"), False),
        (redis, "max number of clients reached", False),
        (mongo, error("OperationFailure", "pymongo.errors", code=16500), True),
        (mongo, error("BulkWriteError", "pymongo.errors", details={"writeErrors": [{"code": 16500}]}), True),
        (mongo, error("WaitQueueTimeoutError", "pymongo.errors"), True),
        (mongo, error("OperationFailure", "pymongo.errors", code=189), False),
        (mongo, SimpleNamespace(code=16500), False),
        (kafka, error("ThrottlingQuotaExceededError", "aiokafka.errors"), True),
        (kafka, error("QuotaViolationError", "kafka.errors"), True),
        (kafka, error("RequestTimedOutError", "aiokafka.errors"), False),
        (kafka, of_confluent("THROTTLING_QUOTA_EXCEEDED"), True),
        (kafka, of_confluent("_TRANSPORT"), False),
        (kafka, "THROTTLING_QUOTA_EXCEEDED", False),
        (search, error("ApiError", "elasticsearch", meta=SimpleNamespace(status=429)), True),
        (search, error("ApiError", "elasticsearch", meta=SimpleNamespace(status=429), error="cluster_block_exception"), False),
        (search, error("ApiError", "elasticsearch", meta=SimpleNamespace(status=503)), False),
        (search, error("BulkIndexError", "elasticsearch.helpers", errors=[{"index": {"status": 429}}, {"index": {"status": 200}}]), True),
        (search, error("BulkIndexError", "elasticsearch.helpers", errors=[{"index": {"status": 429}}, {"index": {"status": 503}}]), False),
        (search, error("BulkIndexError", "elasticsearch.helpers", errors=[{"index": {"status": 400}}]), False),
        (search, 429, False),
    ],
)
def test_what_says_not_so_fast(preset: ModuleType, raised: Any, expected: bool) -> None:
    """Too many calls, connections, or a quota that is used up; not what is down, and not a message that is too large."""
    assert preset.throttled(raised) is expected


def test_what_they_say_of_the_limit() -> None:
    """GRPC's push-back, AWS's and the cluster's headers; nothing where nothing is said."""
    pushed = error("RpcError", "grpc", code=exhausted, trailing_metadata=lambda: (("other", "1"), ("grpc-retry-pushback-ms", "1500")))
    assert grpc.told(pushed) == Told(retry_after=1.5)
    assert grpc.told(error("RpcError", "grpc", code=exhausted, trailing_metadata=lambda: (("grpc-retry-pushback-ms", "-1"),))) is None
    assert aws.told(of_aws(400, "ThrottlingException", **{"x-amz-retry-after": "2500"})) == Told(retry_after=2.5)
    assert aws.told(of_aws(400, "ThrottlingException")) is None
    assert aws.told(ConnectionError()) is None
    cluster = SimpleNamespace(status=429, headers={"Retry-After": "7"})
    assert search.told(error("ApiError", "elasticsearch", meta=cluster)) == Told(retry_after=7.0)
    assert search.told(ConnectionError()) is None


class Falsy:
    """A response as that of requests: to ask whether it is true raises an exception in it."""

    def __bool__(self) -> bool:
        raise RuntimeError


def test_a_response_of_another_client_is_not_asked_whether_it_is_true() -> None:
    """That would be an answer of another library's code, and costs more than the verdict."""
    assert not aws.failures(error("HTTPError", "requests.exceptions", response=Falsy()))
    assert not aws.throttled(error("HTTPError", "requests.exceptions", response=Falsy()))
    gave_up = {"ResponseMetadata": {"HTTPStatusCode": 503}}
    assert aws.failures(error("WaiterError", "botocore.exceptions", response={}, last_response=gave_up))


def canceled(*codes: str) -> Exception:
    """A transaction of DynamoDB, with the reason of each of its items."""
    refused = {"Error": {"Code": "TransactionCanceledException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return error("ClientError", "botocore.exceptions", response=refused | {"CancellationReasons": [{"Code": code} for code in codes]})


@pytest.mark.parametrize("codes", [("ThrottlingError",), ("None", "ProvisionedThroughputExceeded"), ("ThrottlingError", "None", "None")])
def test_a_transaction_that_throttling_canceled_is_throttled(codes: tuple[str, ...]) -> None:
    """Its own code says nothing of why, and the message must not be charged for it."""
    assert aws.throttled(canceled(*codes))
    assert aws.failures(canceled(*codes))


@pytest.mark.parametrize(
    "codes", [(), ("None",), ("ConditionalCheckFailed",), ("TransactionConflict",), ("ThrottlingError", "ValidationError")]
)
def test_a_transaction_that_anything_else_canceled_is_the_messages_own(codes: tuple[str, ...]) -> None:
    """A condition that failed fails again, however slowly the service is asked. No reasons at all say nothing."""
    assert not aws.throttled(canceled(*codes))
    assert not aws.failures(canceled(*codes))


def test_reasons_that_nobody_can_read_are_none() -> None:
    """Nothing is raised for what is no list, or has something else in it."""
    refused = {"Error": {"Code": "TransactionCanceledException"}}
    for reasons in ("ThrottlingError", None, ["ThrottlingError", None]):
        assert not aws.throttled(error("ClientError", "botocore.exceptions", response=refused | {"CancellationReasons": reasons}))
