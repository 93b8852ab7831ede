"""What `failures = "http"` in a settings file stands for: a fixed list, so that a file can never name code to be run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

# One of each module that reads the exceptions of a kind of client. tests/config/test_named_failures.py compares it with the folders.
FailuresName = Literal["amqp", "aws", "grpc", "http", "kafka", "mongo", "redis", "search", "smtp", "sql"]


class NamedFailures(NamedTuple):
    """What a Dependency is given. `retry_after` of None means that such servers do not say how long to wait."""

    failures: Callable[[BaseException], bool]
    retry_after: Callable[[Exception], float | None] | None


def named_failures(name: FailuresName) -> NamedFailures:
    """Return what the name stands for. Only holdgate's own modules are imported, of which none imports a client."""
    from holdgate import http  # noqa: PLC0415 - each start would pay for all of them
    from holdgate.presets import amqp, aws, grpc, kafka, mongo, redis, search, smtp, sql  # noqa: PLC0415

    return {
        "amqp": NamedFailures(amqp.failures, None),
        "aws": NamedFailures(aws.failures, aws.retry_after),
        "grpc": NamedFailures(grpc.failures, grpc.retry_after),
        "http": NamedFailures(http.failures, http.retry_after),
        "kafka": NamedFailures(kafka.failures, None),
        "mongo": NamedFailures(mongo.failures, None),
        "redis": NamedFailures(redis.failures, None),
        "search": NamedFailures(search.failures, search.retry_after),
        "smtp": NamedFailures(smtp.failures, None),
        "sql": NamedFailures(sql.failures, None),
    }[name]


NAMES: tuple[str, ...] = get_args(FailuresName)
