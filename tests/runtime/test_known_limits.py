"""Which known client is asked whether an exception says "not so fast": each that could say yes, and none besides."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from holdgate.http import exceptions
from holdgate.presets import aws, grpc, kafka, mongo, redis, search, sql
from holdgate.runtime import known_limits
from holdgate.signs import Shortlist

KNOWN = (exceptions.throttled, aws.throttled, grpc.throttled, sql.throttled, redis.throttled, mongo.throttled, kafka.throttled)


class Code(Enum):
    """A gRPC status code."""

    RESOURCE_EXHAUSTED = 8


class Quota:
    """What confluent-kafka puts into its exception."""

    def name(self) -> str:
        return "THROTTLING_QUOTA_EXCEEDED"


THROTTLING = {"Error": {"Code": "Throttling"}, "ResponseMetadata": {"HTTPStatusCode": 429}}
NAMES = (
    *("response", "last_response", "body", "code", "status", "status_code", "http_status", "sqlstate", "pgcode", "details", "reason"),
    *("last_attempt", "full_code", "errno", "meta", "error", "retriable", "name"),
)
VALUES: tuple[Any, ...] = (
    *(None, 429, 503, 16500, 1040, "53300", "too many clients already", "ORA-00018", "HYT00"),
    *("max number of clients reached", "too many 429 error responses", "The requested URL returned error: 429", 22),
    *(Code.RESOURCE_EXHAUSTED, lambda: Code.RESOURCE_EXHAUSTED, Quota(), SimpleNamespace(full_code="ORA-00018"), (40501, "busy"), 40501),
    *(THROTTLING, {"type": "rate_limit_error"}, {"writeErrors": [{"code": 16500}]}),
    *(SimpleNamespace(status_code=429), SimpleNamespace(failed=False, result=lambda: SimpleNamespace(status=429))),
)
# Of each preset the classes that tell something by themselves or by their text, and some of nobody.
CLASSES = (
    *("openai.RateLimitError", "elsewhere.TooManyRequests", "tenacity.RetryError", "pycurl.error", "urllib3.MaxRetryError"),
    *("httpx.ReadTimeout", "botocore.ClientError", "grpc.RpcError", "shop.ApiError", "shop.OrderError"),
    *("psycopg.OperationalError", "psycopg2.OperationalError", "asyncpg.PostgresError", "psycopg_pool.PoolTimeout"),
    *("psycopg_pool.TooManyRequests", "sqlalchemy.TimeoutError", "pymysql.MySQLError", "pyodbc.Error", "oracledb.Error", "pymssql.Error"),
    *("redis.ConnectionError", "redis.ResponseError", "coredis.MaxConnectionsError", "pymongo.WaitQueueTimeoutError"),
    *("pymongo.OperationFailure", "aiokafka.ThrottlingQuotaExceededError", "confluent_kafka.KafkaException"),
)


def class_of(path: str, father: type[Exception] = Exception, own: Mapping[str, Any] = MappingProxyType({})) -> type[Exception]:
    module, name = path.split(".")
    return type(name, (father,), {"__module__": module, **own})


def says(known: Any, error: BaseException) -> bool:
    try:
        return bool(known(error))
    except Exception:  # noqa: BLE001 - what cannot be read says nothing
        return False


def falsely_left_out(error: BaseException) -> list[str]:
    """Who says yes, and was not asked."""
    asked = Shortlist(KNOWN).of(error)
    return [known.__module__ for known in KNOWN if known not in asked and says(known, error)]


def is_as_if_all_were_asked(error: BaseException) -> bool:
    return known_limits.throttled(error) is any(says(known, error) for known in KNOWN)


@pytest.mark.parametrize("father", [Exception, TimeoutError])
def test_who_knows_the_class_or_what_it_was_made_with_is_asked(father: type[Exception]) -> None:
    """Who is not asked would have said no."""
    for path in CLASSES:
        kind = class_of(path, father)
        for value in VALUES:
            assert not falsely_left_out(kind(value)), (path, value)
            assert is_as_if_all_were_asked(kind(value)), (path, value)


@pytest.mark.parametrize("path", ["shop.ApiError", "tenacity.RetryError", "urllib3.MaxRetryError", "psycopg.OperationalError"])
def test_who_knows_an_attribute_is_asked(path: str) -> None:
    """An exception of anybody's may have it."""
    kind = class_of(path)
    for name in NAMES:
        for value in VALUES:
            error = kind("text")
            setattr(error, name, value)
            assert not falsely_left_out(error), (name, value)
            assert is_as_if_all_were_asked(error), (name, value)


@pytest.mark.parametrize("name", NAMES)
def test_an_attribute_of_the_class_is_a_sign_too(name: str) -> None:
    """SQLAlchemy has its `code` there, and who names a status once for all."""
    for value in VALUES:
        error = class_of("shop.ApiError", own={name: staticmethod(value) if callable(value) else value})()
        assert not falsely_left_out(error), value


@pytest.mark.parametrize("path", ["psycopg_pool.PoolTimeout", "shop.ApiError"])
def test_sql_is_asked_about_a_timeout(path: str) -> None:
    """Its traceback says whether it is that of a full pool, whatever the class."""
    assert sql.throttled in Shortlist(KNOWN).of(class_of(path, TimeoutError)())
    assert sql.throttled in Shortlist(KNOWN).of(class_of("psycopg_pool.PoolTimeout")())


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.__module__)
def test_what_it_reads_is_among_its_signs(known: Any) -> None:
    """A new attribute that a preset reads has to be noted, or the preset is not asked."""
    read: set[str] = set()

    class Watched(Exception):
        def __getattribute__(self, name: str) -> Any:
            read.add(name)
            return None if not name.startswith("__") and name != "args" else super().__getattribute__(name)

    assert not known(Watched())
    for name in read - {"args"}:
        if not name.startswith("__"):
            error = ValueError()
            setattr(error, name, None)
            assert known in Shortlist(KNOWN).of(error), name


def asked_about(error: BaseException) -> list[str]:
    return [known.__module__.rpartition(".")[2] for known in Shortlist(KNOWN).of(error)]


def test_few_are_asked_about_what_most_failures_are() -> None:
    """That is why a failure costs little."""
    refused = type("HTTPStatusError", (Exception,), {"__module__": "httpx"})("503")
    refused.response = SimpleNamespace(status_code=503)
    assert asked_about(refused) == ["exceptions", "aws"]
    assert asked_about(type("OperationalError", (Exception,), {"__module__": "psycopg", "sqlstate": "57P01"})("gone")) == ["sql"]
    assert asked_about(type("ConnectionError", (Exception,), {"__module__": "redis.exceptions"})("gone")) == ["redis"]
    assert asked_about(type("ApiError", (Exception,), {})("gone")) == []


def test_of_elasticsearch_it_alone_is_asked() -> None:
    """Its 429 may be a full disk, which no other client means by one."""
    kind = type("ApiError", (Exception,), {"__module__": "elasticsearch", "status_code": 429, "error": "cluster_block_exception"})
    assert exceptions.throttled(kind())
    assert not search.throttled(kind())
    assert not known_limits.throttled(kind())


def test_one_whose_attributes_cannot_be_listed_is_shown_to_all() -> None:
    """A class may do anything, and its exception is a failure all the same."""
    kind = type("Odd", (Exception,), {"args": property(lambda _: 5), "status_code": 429})
    assert known_limits.throttled(kind())
