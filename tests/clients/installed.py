"""Which clients are here: most are only in the environments of `make test-clients`."""

from __future__ import annotations

from importlib import metadata


def version(package: str) -> str | None:
    """The version of an installed package; None where it is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def installed(package: str | None) -> bool:
    """Whether a package is here; None is Python itself."""
    return package is None or version(package) is not None


# Anybody's test environment may have requests or urllib3; these two are nobody's but ours.
HAVE_CLIENTS = installed("niquests") or installed("httpx2")
