"""Which exceptions of MongoDB's client are the database's failures: pymongo (plain and async) and motor, which raises the same.

The driver's own classes tell what happened to the connection; what the server answered has a number
(https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml).

Not failures: write conflicts (112) and aborted transactions. Two messages were in each other's way; tried again they pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from holdgate import network
from holdgate.network import attribute, known_as
from holdgate.signs import recognised_by
from holdgate.slips import passed_uncalled

# AutoReconnect, NetworkTimeout, NotPrimaryError, ServerSelectionTimeoutError, WaitQueueTimeoutError are derived from the first.
_is_no_answer = known_as({"pymongo": {"ConnectionFailure", "ExecutionTimeout"}})

# Cosmos DB's RequestRateTooLarge.
_TOO_MANY = 16500
# HostUnreachable 6, HostNotFound 7, AuthenticationFailed 18 (the connection's), MaxTimeMSExpired 50, WriteConcernFailed 64, NetworkTimeout
# 89, ShutdownInProgress 91, FailedToSatisfyReadPreference 133, ReadConcernMajorityNotAvailableYet 134, PrimarySteppedDown 189,
# ExceededTimeLimit 262, SocketException 9001, NotWritablePrimary 10107, InterruptedAtShutdown 11600, InterruptedDueToReplStateChange 11602,
# NotPrimaryNoSecondaryOk 13435, NotPrimaryOrSecondary 13436, OutOfDiskSpace 14031.
_NUMBERS = frozenset({6, 7, 18, 50, 64, 89, 91, 133, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436, 14031, _TOO_MANY})
# The server's own word that the same write may be sent again: a primary that is gone.
_RETRYABLE = "RetryableWriteError"


# No connection of the client's own pool came free in time.
_is_pool = known_as({"pymongo": {"WaitQueueTimeoutError"}})


@passed_uncalled("failures=mongo.failures")
def failures(error: BaseException) -> bool:
    """Return whether the driver's exception is the database's failure: no server, cut off, out of time, no primary, shutting down, no
    login.

    Duplicate keys, documents that do not validate or are too large, write conflicts, missing rights are the message's own.
    """
    if network.failures(error) or _is_no_answer(type(error)) or attribute(error, "timeout") is True:
        return True
    return _is_retryable(error) or any(number in _NUMBERS for number in _numbers(error))


@recognised_by("code", "details", classes=[_is_pool])
@passed_uncalled("throttled=mongo.throttled")
def throttled(error: object) -> bool:
    """Return whether the driver's exception says "not so fast": Cosmos DB's RequestRateTooLarge, or a full pool of the driver's own.

    A Dependency without `throttled` asks this by itself.
    """
    return isinstance(error, BaseException) and (_is_pool(type(error)) or any(number == _TOO_MANY for number in _numbers(error)))


def _is_retryable(error: BaseException) -> bool:
    has = attribute(error, "has_error_label")
    return callable(has) and bool(has(_RETRYABLE))


def _numbers(error: BaseException) -> Iterable[object]:
    """Yield the error's number, and those of a bulk write's parts."""
    yield attribute(error, "code")
    details = attribute(error, "details")
    if not isinstance(details, Mapping):
        return
    for name in ("writeErrors", "writeConcernErrors"):
        parts = cast("Mapping[str, Any]", details).get(name)
        for part in cast("Iterable[Any]", parts if isinstance(parts, list) else ()):
            yield cast("Mapping[str, Any]", part).get("code") if isinstance(part, Mapping) else None
