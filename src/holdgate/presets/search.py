"""Which exceptions of Elasticsearch's and OpenSearch's clients are the cluster's failures, and how long it asks to wait.

Both talk HTTP and keep the status in places of their own. In bulk, each document has a status: documents that the cluster had no room for
(429) or could not take now (503) make the error a failure, whatever became of the others, as they have to be sent again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from holdgate import network
from holdgate.http.answers import by_name, status_of
from holdgate.http.exceptions import is_not_now
from holdgate.http.limits import told_by
from holdgate.http.waits import wait_of
from holdgate.network import attribute, known_in
from holdgate.slips import passed_uncalled
from holdgate.told import Told

_CLIENTS = ("elastic_transport", "elasticsearch", "opensearchpy")
_NO_ANSWER = frozenset({"ConnectionError", "ConnectionTimeout", "TlsError", "SSLError", "SniffingError"})
_is_no_answer = known_in(_CLIENTS, _NO_ANSWER)
_is_bulk = known_in(("elasticsearch", "opensearchpy"), {"BulkIndexError"})

_TOO_MANY_REQUESTS = 429
# The cluster has closed an index to writes: its disks are full. Some versions say 403 instead of 429.
_BLOCKED = "cluster_block_exception"


@passed_uncalled("failures=search.failures")
def failures(error: BaseException) -> bool:
    """Return whether a client's exception is the cluster's failure: no answer, 408, 429, 5xx, an index that it closed to writes.

    A version conflict, a missing index or document, a bad query or document are the message's own.
    """
    if _is_bulk(type(error)):
        return any(_is_not_now(status) for status in _statuses(attribute(error, "errors")))
    status = _status(error)
    if status is not None:
        return is_not_now(status) or attribute(error, "error") == _BLOCKED
    return network.failures(error) or _is_no_answer(type(error))


@passed_uncalled("throttled=search.throttled")
def throttled(error: object) -> bool:
    """Return whether the cluster says "not so fast": 429, and not because it has closed an index to writes; of a bulk any document.

    A Dependency without `throttled` asks this by itself.
    """
    if not isinstance(error, BaseException):
        return False
    if _is_bulk(type(error)):
        statuses = [status for status in _statuses(attribute(error, "errors")) if _is_not_now(status)]
        return bool(statuses) and all(status == _TOO_MANY_REQUESTS for status in statuses)
    return _status(error) == _TOO_MANY_REQUESTS and attribute(error, "error") != _BLOCKED


@passed_uncalled("told=search.told")
def told(error: object) -> Told | None:
    """Return what the cluster, or a proxy before it, says of a limit, as in `holdgate.http`. None means nothing."""
    headers = by_name(attribute(attribute(error, "meta"), "headers"))
    return told_by(headers, _status(error)) if headers else None


def knows(error: object) -> bool:
    """Return whether an exception is one of these clients'."""
    return type(error).__module__.partition(".")[0] in _CLIENTS


@passed_uncalled("retry_after=search.retry_after")
def retry_after(error: BaseException) -> float | None:
    """Return the seconds after which the cluster, or a proxy before it, wants to be asked again, as in `holdgate.http`.

    None means that it does not say.
    """
    headers = by_name(attribute(attribute(error, "meta"), "headers"))
    return wait_of(headers, _status(error)) if headers else None


def _status(error: object) -> int | None:
    # Elasticsearch 8 and newer; the others have it on the exception.
    status = attribute(attribute(error, "meta"), "status")
    return status if isinstance(status, int) else status_of(error)


def _is_not_now(status: object) -> bool:
    return isinstance(status, int) and is_not_now(status)


def _statuses(errors: object) -> Iterable[object]:
    """Yield the status of each document: `[{"index": {"status": 429, ...}}, ...]`."""
    for item in cast("Iterable[Any]", errors if isinstance(errors, list) else ()):
        for result in cast("Mapping[str, Any]", item).values() if isinstance(item, Mapping) else ():
            if isinstance(result, Mapping):
                yield cast("Mapping[str, Any]", result).get("status")
