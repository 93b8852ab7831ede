"""Users' functions: whether one is async or plain, and what a call form says of the wrong one."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from holdgate.errors import SettingsError
from holdgate.runtime.functions import apply_async, apply_sync, is_async, named


class _Charger:
    async def __call__(self) -> None: ...


async def _charge() -> None: ...


@functools.wraps(_charge)
def _run_to_its_end() -> None:
    asyncio.run(_charge())


@pytest.mark.parametrize(
    ("fn", "colour", "wrapped_colour"),
    [
        (_charge, True, True),
        (_Charger(), True, True),
        (functools.partial(_Charger()), True, True),
        (functools.partial(functools.partial(_charge)), True, True),
        (print, False, False),
        (_run_to_its_end, False, True),
        (functools.partial(_run_to_its_end), False, True),
    ],
)
def test_what_is_async_is_seen_through_partials_and_if_asked_through_wrappers(fn: Any, colour: bool, wrapped_colour: bool) -> None:
    """A plain function may run what it wraps to its end; only who can await a result may take it for async."""
    assert (is_async(fn), is_async(fn, through_wrappers=True)) == (colour, wrapped_colour)


def test_an_async_function_that_is_called_as_a_plain_one_is_named_and_closed() -> None:
    """Its coroutine would never run, and the call would seem to have succeeded."""
    with pytest.raises(SettingsError, match=r"_charge is an async function; use `await dependency\.call\(\.\.\.\)`"):
        apply_sync(_charge)


def test_a_plain_function_that_is_called_as_an_async_one_is_named() -> None:
    """What it has returned cannot be awaited."""
    with pytest.raises(SettingsError, match="int is not an async function: use call_sync"):
        apply_async(int)  # type: ignore[arg-type]


def test_an_object_without_a_name_has_that_of_its_class() -> None:
    """Functions have their qualified name."""
    assert (named(_Charger()), named(_charge), named(functools.partial(_charge))) == ("_Charger", "_charge", "partial")
