"""Which exceptions mean that there was no answer: those of the operating system, of Python, and of libraries that carry bytes.

Every preset begins with these. Alone they suit a client of your own over plain sockets: `Dependency("ledger", failures=network.failures)`.
No client is imported: a class is recognised by the first part of its module's name and by its own name.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable, Mapping

from holdgate.slips import passed_uncalled

# Exception classes by the first part of their module's name.
Names = Mapping[str, Collection[str]]
ANY_MODULE = "*"

# Error numbers of the operating system that are about the network. An OSError of a file, a full disk or a permission is not a failure of
# the dependency.
_NETWORK_ERRORS = frozenset(
    {
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENETRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ETIMEDOUT,
        errno.EADDRNOTAVAIL,
        errno.ENOTCONN,
    }
)

# A stream that we closed ourselves (ClosedResourceError) is missing on purpose: that is a mistake of the handler.
_CARRIERS: Names = {
    "socket": {"gaierror", "herror"},
    "ssl": {"SSLError"},
    "asyncio": {"IncompleteReadError"},
    # A command that did not end in time, such as one that asks another machine. It is no TimeoutError.
    "subprocess": {"TimeoutExpired"},
    "anyio": {"BrokenResourceError", "EndOfStream", "IncompleteRead", "ConnectionFailed"},
    "trio": {"BrokenResourceError"},
    "h11": {"RemoteProtocolError"},
    "h2": {"ProtocolError"},
    "python_socks": {"ProxyError", "ProxyConnectionError", "ProxyTimeoutError"},
    "socks": {"ProxyError"},
    # Clients of other protocols, in whose presets there would be nothing else: what they raise for a connection that cannot be had, or is
    # gone. A server of Cassandra that has too few replicas answers the next message no better.
    "cassandra": {"NoHostAvailable", "OperationTimedOut", "Unavailable", "Timeout", "ConnectionException"},
    "imaplib": {"abort"},
    "ldap3": {"LDAPCommunicationError", "LDAPUnavailableResult", "LDAPBusyResult"},
    "nats": {"ConnectionClosedError", "NoServersError", "NoRespondersError", "StaleConnectionError"},
    "neo4j": {"ServiceUnavailable", "SessionExpired", "UnsupportedServerProduct"},
    "paramiko": {"SSHException"},
    "pymemcache": {"MemcacheUnexpectedCloseError", "MemcacheServerError", "MemcacheUnknownError"},
    "stomp": {"ConnectFailedException", "NotConnectedException", "ConnectionClosedException"},
    "websockets": {"ConnectionClosedError"},
}

# How many verdicts on classes are kept. A process meets fewer classes; it is a bound for clients that make classes as they go, as botocore.
_KEPT = 512


@passed_uncalled("failures=network.failures")
def failures(error: BaseException) -> bool:
    """Return whether an exception means that there was no answer: refused, unreachable, cut off, timed out, no such host, no TLS.

    An OSError that is not about the network (a file, a full disk) is not a failure.
    """
    return isinstance(error, ConnectionError | TimeoutError) or _is_network_error(error) or _is_carriers(type(error))


def known_as(names: Names) -> Callable[[type[BaseException]], bool]:
    """Return a predicate that recognises classes, and classes derived from them, by name. It remembers its verdicts."""
    anywhere = names.get(ANY_MODULE, ())
    verdicts: dict[type[BaseException], bool] = {}

    def is_known(cls: type[BaseException]) -> bool:
        verdict = verdicts.get(cls)
        if verdict is None:
            if len(verdicts) >= _KEPT:
                verdicts.clear()
            verdict = verdicts[cls] = any(
                ancestor.__name__ in anywhere or ancestor.__name__ in names.get(ancestor.__module__.partition(".")[0], ())
                for ancestor in cls.__mro__
            )
        return verdict

    return is_known


def known_in(libraries: Iterable[str], names: Collection[str]) -> Callable[[type[BaseException]], bool]:
    """Return such a predicate for libraries that have the same names for their classes."""
    return known_as(dict.fromkeys(libraries, names))


def attribute(error: object, name: str, default: None = None) -> object:
    """Return `error.name`, or `default` if there is none, or if a client's property raises because there was no answer."""
    try:
        return getattr(error, name, default)
    except Exception:  # noqa: BLE001 - a verdict must not end in another library's error
        return default


_is_carriers = known_as(_CARRIERS)


def _is_network_error(error: BaseException) -> bool:
    if not isinstance(error, OSError):
        return False
    # asyncio raises a bare OSError without a number if every address of a host has refused.
    return error.errno in _NETWORK_ERRORS or (type(error) is OSError and error.errno is None)
