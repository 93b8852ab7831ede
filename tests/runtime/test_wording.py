"""The words that all lines share: times, numbers, sources, and of an exception what and where, and never what it says itself."""

from __future__ import annotations

import errno
import json
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from holdgate import Partition, Queue
from holdgate.runtime.wording import kind_of, lasting, many, per_second, sources, steps, text_of, whereabouts

HERE = Path(__file__).name


def raised_by_a_library() -> ValueError:
    try:
        json.loads("secret {")
    except ValueError as error:
        return error
    raise AssertionError("json took it")


def inner() -> None:
    json.loads("secret {")


def test_the_line_is_the_users() -> None:
    """An error deep inside a library is reported at the call that the reader can change."""
    file, line = whereabouts(raised_by_a_library()).rsplit(":", 1)

    assert file == HERE
    assert int(line) == raised_by_a_library.__code__.co_firstlineno + 2


def test_of_the_users_lines_it_is_the_innermost() -> None:
    """A handler that calls a function of its own is told the line in that function."""
    try:
        inner()
    except ValueError as error:
        place = whereabouts(error)

    assert place == f"{HERE}:{inner.__code__.co_firstlineno + 1}"


def test_an_exception_that_was_never_raised_has_no_place() -> None:
    """Made, and not raised: there is no line to name."""
    assert whereabouts(ValueError("secret")) == "an unknown place"


def test_the_steps_leave_the_text_out() -> None:
    """The way to the error, without what the message may have put into it."""
    payload = f"card {4711}"
    try:
        raise ValueError(payload)
    except ValueError as error:
        shown = steps(error)

    assert "raise ValueError(payload)" in shown
    assert payload not in shown


def raised_group(*members: Exception) -> ExceptionGroup[Exception]:
    try:
        raise ExceptionGroup("several", members)
    except ExceptionGroup as group:
        return group


def test_of_a_group_it_is_the_line_of_its_first_member() -> None:
    """The line of the task group says nothing."""
    error = raised_by_a_library()
    group = raised_group(error, ValueError())

    assert whereabouts(group) == whereabouts(error)
    assert steps(group) == steps(error)


def test_of_a_group_whose_members_were_never_raised_it_is_its_own_line() -> None:
    """Better than none."""
    assert whereabouts(raised_group(ValueError())).startswith(f"{HERE}:")


def test_a_file_whose_name_says_nothing_is_named_with_its_folder() -> None:
    """`__init__.py` alone could be any of a hundred."""
    code = compile("1 / 0", "/app/charges/__init__.py", "eval")
    with pytest.raises(ZeroDivisionError) as caught:
        eval(code)  # noqa: S307 - code with a file's name of our own

    assert whereabouts(caught.value) == "charges/__init__.py:1"


class HTTPStatusError(Exception):
    def __init__(self, status: object) -> None:
        super().__init__("Server error for url 'https://user:secret@payments/?token=secret'")
        self.response = SimpleNamespace(status_code=status)


class ApiError(Exception):
    pass


def raised_from(cause: BaseException) -> BaseException:
    try:
        raise ApiError("secret") from cause
    except ApiError as error:
        return error


class UrlError(OSError):
    def __init__(self, reason: BaseException) -> None:
        super().__init__()
        self.reason = reason


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KeyError("secret"), "KeyError"),
        (HTTPStatusError(503), "HTTPStatusError 503"),
        (HTTPStatusError("secret"), "HTTPStatusError"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "secret"), "ConnectionRefusedError ECONNREFUSED"),
        (OSError(errno.ENETUNREACH, "secret"), "OSError ENETUNREACH"),
        (socket.gaierror(-2, "secret"), "gaierror errno -2"),
        (OSError("secret", "secret"), "OSError"),
        (raised_from(HTTPStatusError(429)), "ApiError from HTTPStatusError 429"),
        (raised_from(ConnectionRefusedError(errno.ECONNREFUSED, "secret")), "ApiError from ConnectionRefusedError ECONNREFUSED"),
        (UrlError(TimeoutError(errno.ETIMEDOUT, "secret")), "UrlError ETIMEDOUT"),
    ],
)
def test_the_kind_has_the_status_or_the_error_number(error: BaseException, kind: str) -> None:
    """What a person asks first, and nothing of the text."""
    assert kind_of(error) == kind


def test_a_text_is_one_short_line() -> None:
    """Whatever the client has put into it."""
    assert text_of(ValueError("two\nlines")) == "two lines"
    assert len(text_of(ValueError("x" * 1000))) == 200


def test_a_text_that_fails_is_no_failure_of_ours() -> None:
    """Its `__str__` is somebody else's code."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise KeyError

    assert text_of(Mute()) == "<its text raised KeyError>"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1.0, "0.0 s"),
        (5.24, "5.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (90.0, "1 min 30 s"),
        (300.0, "5 min"),
        (3599.6, "1 h"),
        (7500.0, "2 h 5 min"),
        (360_000.0, "100 h"),
    ],
)
def test_a_time_has_the_units_that_matter(seconds: float, words: str) -> None:
    """Nobody wants to divide 7,500 seconds at night."""
    assert lasting(seconds) == words


def test_a_number_has_its_noun() -> None:
    """With separators where it is large."""
    assert [many(1, "call"), many(0, "call"), many(12_345, "batch", "batches")] == ["1 call", "0 calls", "12,345 batches"]


def test_sources_are_named_by_topic_and_queue() -> None:
    """Numbers in order, topics in the order of their first mention."""
    assert sources([Partition("b", 1), Queue("mail"), Partition("a", 0), Partition("b", 0)]) == "b[0,1], mail, a[0]"


def test_where_only_libraries_show_the_cause_knows_the_place() -> None:
    """`next(...)` in a coroutine: the RuntimeError is made where the coroutine ends."""

    def finds_nothing() -> object:
        return next(iter(()))

    try:
        finds_nothing()
    except StopIteration as end:
        wrapped = RuntimeError("coroutine raised StopIteration")
        wrapped.__cause__ = end
    assert whereabouts(wrapped).startswith("test_wording.py:")
    assert whereabouts(RuntimeError()) == "an unknown place"


@pytest.mark.parametrize(
    ("pace", "text"), [(0.01666, "0.0167"), (9.8, "9.8"), (999.4, "999"), (999.5, "1000"), (999.6, "1000"), (1234.5, "1234")]
)
def test_trap_a_pace_of_nearly_a_thousand_is_1e_03(pace: float, text: str) -> None:
    """Three digits where that is enough, and no exponent."""
    assert per_second(pace) == text
