"""Which exceptions of Redis, gRPC, AWS, search, MongoDB, SMTP, AMQP and Kafka clients are failures, beside what tests/clients shows.

The clients are not installed here: what is tried is what an exception must carry to be known, and what must not be taken for it.
"""

from __future__ import annotations

import smtplib
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

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
