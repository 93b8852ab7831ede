"""Which exceptions of Redis and Valkey clients are the dependency's failures: redis-py and valkey-py, asyncio and plain, and coredis.

An error reply begins with a word for what it is (https://redis.io/docs/latest/develop/reference/protocol-spec/); the clients have classes
for some of them and leave the word in the text of the others.
"""

from __future__ import annotations

from holdgate import network
from holdgate.network import known_in
from holdgate.signs import recognised_by
from holdgate.slips import passed_uncalled

_NAMES = frozenset(
    {
        # Not there, cut off, out of time; login, too many clients and LOADING are ConnectionErrors.
        *("ConnectionError", "TimeoutError", "InvalidResponse", "MaxConnectionsError"),
        # There, and cannot now: out of memory, a replica after a failover, a cluster that is being put together.
        *("OutOfMemoryError", "ReadOnlyError", "BusyLoadingError", "ClusterDownError", "MasterDownError", "TryAgainError"),
        *("SlotNotCoveredError", "AuthenticationError", "ClusterError"),
    }
)
_CLIENTS = ("redis", "valkey", "coredis", "aioredis")
_is_trouble = known_in(_CLIENTS, _NAMES)
_is_reply = known_in(_CLIENTS, {"ResponseError"})

# A script that runs for too long blocks everybody (BUSY); a disk or replicas that are gone stop all writes (MISCONF, NOREPLICAS).
_WORDS = frozenset(
    {"BUSY", "LOADING", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "NOAUTH", "WRONGPASS"}
)


# The server has as many clients as it takes (its `maxclients`), or the client's own pool as many connections. valkey-py does not read what
# a full server says, and loses the connection.
_is_full = known_in(_CLIENTS, {"MaxConnectionsError", "MaxClientsError"})
_is_connection = known_in(_CLIENTS, {"ConnectionError"})
_FULL_TEXTS = ("max number of clients reached", "Too many connections", "No connection available")


@passed_uncalled("failures=redis.failures")
def failures(error: BaseException) -> bool:
    """Return whether a client's exception is the server's failure: not there, cut off, out of time, loading, out of memory, read-only, no
    login.

    A wrong type, a missing script, a changed key that was watched, a lock that another has, missing rights are the message's own.
    """
    kind = type(error)
    if network.failures(error) or _is_trouble(kind):
        return True
    return _is_reply(kind) and str(error).partition(" ")[0] in _WORDS


@recognised_by(classes=[_is_full, _is_connection, _is_reply])
@passed_uncalled("throttled=redis.throttled")
def throttled(error: object) -> bool:
    """Return whether it is too many connections that a client's exception is about: the server's, or those of the client's own pool.

    A Dependency without `throttled` asks this by itself.
    """
    if not isinstance(error, BaseException):
        return False
    kind = type(error)
    return _is_full(kind) or ((_is_connection(kind) or _is_reply(kind)) and any(said in str(error) for said in _FULL_TEXTS))
