"""Which exceptions say that nobody answered: the operating system's, Python's and those of the libraries that carry bytes.

Every preset begins with these. Alone they suit a client of your own over plain sockets: `Dependency("ledger", failures=network.failures)`.
No client is imported: a class is known by the first part of its module's name and its own name.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable, Mapping

# Exception classes by the first part of their module's name.
Names = Mapping[str, Collection[str]]
ANY_MODULE = "*"

# What the operating system says of a network. An OSError of a file, a full disk or a permission is no failure of the dependency.
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

# A stream that we closed ourselves (ClosedResourceError) is not here: that is the handler's own mistake.
_CARRIERS: Names = {
    "socket": {"gaierror", "herror"},
    "ssl": {"SSLError"},
    "asyncio": {"IncompleteReadError"},
    "anyio": {"BrokenResourceError", "EndOfStream", "IncompleteRead", "ConnectionFailed"},
    "trio": {"BrokenResourceError"},
    "h11": {"RemoteProtocolError"},
    "h2": {"ProtocolError"},
    "python_socks": {"ProxyError", "ProxyConnectionError", "ProxyTimeoutError"},
    "socks": {"ProxyError"},
}

# Verdicts by class that are kept: more classes than a process meets, and a bound for those who make classes as they go (botocore does).
_KEPT = 512


def failures(error: BaseException) -> bool:
    """Whether an exception says that nobody answered: refused, unreachable, cut off, timed out, no such host, no TLS.

    An OSError that is no network's (a file, a full disk) is not a failure.
    """
    return isinstance(error, ConnectionError | TimeoutError) or _is_network_error(error) or _is_carriers(type(error))


def known_as(names: Names) -> Callable[[type[BaseException]], bool]:
    """Make a predicate that knows classes, and what is derived from them, by name. It is asked about a class, and remembers."""
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
    """The same for libraries that have the same names for their classes."""
    return known_as(dict.fromkeys(libraries, names))


def attribute(error: object, name: str, default: None = None) -> object:
    """`error.name`, or `default`: also where a client's property raises because there was no answer to read it from."""
    try:
        return getattr(error, name, default)
    except Exception:  # noqa: BLE001 - a verdict must not end in another library's error
        return default


_is_carriers = known_as(_CARRIERS)


def _is_network_error(error: BaseException) -> bool:
    if not isinstance(error, OSError):
        return False
    # asyncio gives a bare OSError without a number when every address of a host refused.
    return error.errno in _NETWORK_ERRORS or (type(error) is OSError and error.errno is None)
