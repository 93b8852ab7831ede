"""Which exceptions say that nobody answered."""

from __future__ import annotations

import asyncio
import errno
import socket
import subprocess

import anyio
import pytest

from holdgate import network


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        socket.gaierror(),
        OSError(errno.EHOSTUNREACH, "no route"),
        OSError("Multiple exceptions: refused, refused"),
        asyncio.IncompleteReadError(b"", 4),
        subprocess.TimeoutExpired("curl", 5),
        anyio.EndOfStream(),
        anyio.BrokenResourceError(),
    ],
    ids=repr,
)
def test_nobody_answered(error: Exception) -> None:
    """Whoever carries the bytes has a name of its own for it."""
    assert network.failures(error)


@pytest.mark.parametrize(
    "error", [ValueError(), EOFError(), FileNotFoundError(errno.ENOENT, "no file"), anyio.ClosedResourceError()], ids=repr
)
def test_the_rest_is_no_networks(error: Exception) -> None:
    """Files, and streams that we closed ourselves, are not the dependency's."""
    assert not network.failures(error)


def test_a_class_is_known_by_its_ancestors_and_only_in_its_own_library() -> None:
    """By the first part of the module's name and the class's own name."""
    is_known = network.known_as({"client": {"Gone"}})
    gone = type("Gone", (Exception,), {"__module__": "client.errors"})
    assert is_known(type("GoneForGood", (gone,), {"__module__": "mine"}))
    assert not is_known(type("Gone", (Exception,), {"__module__": "elsewhere"}))


def test_classes_without_end_do_not_fill_the_memory() -> None:
    """A client that makes a class for each error is answered all the same."""
    is_known = network.known_as({"client": {"Gone"}})
    for _ in range(2000):
        assert is_known(type("Gone", (Exception,), {"__module__": "client"}))
