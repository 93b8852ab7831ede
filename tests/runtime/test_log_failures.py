"""What the log says of an exception: where, and never what it says itself."""

from __future__ import annotations

import json

from holdgate.runtime import log as failures


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
    file, line = failures.whereabouts(raised_by_a_library()).rsplit(":", 1)

    assert file == __file__
    assert int(line) == raised_by_a_library.__code__.co_firstlineno + 2


def test_of_the_users_lines_it_is_the_innermost() -> None:
    """A handler that calls a function of its own is told the line in that function."""
    try:
        inner()
    except ValueError as error:
        place = failures.whereabouts(error)

    assert place == f"{__file__}:{inner.__code__.co_firstlineno + 1}"


def test_an_exception_that_was_never_raised_has_no_place() -> None:
    """Made, and not raised: there is no line to name."""
    assert failures.whereabouts(ValueError("secret")) == "an unknown place"


def test_the_steps_leave_the_text_out() -> None:
    """The way to the error, without what the message may have put into it."""
    payload = f"card {4711}"
    try:
        raise ValueError(payload)
    except ValueError as error:
        steps = failures.steps(error)

    assert "raise ValueError(payload)" in steps
    assert payload not in steps


def raised_group(*members: Exception) -> ExceptionGroup[Exception]:
    try:
        raise ExceptionGroup("several", members)
    except ExceptionGroup as group:
        return group


def test_of_a_group_it_is_the_line_of_its_first_member() -> None:
    """The line of the task group says nothing."""
    error = raised_by_a_library()
    group = raised_group(error, ValueError())

    assert failures.whereabouts(group) == failures.whereabouts(error)
    assert failures.steps(group) == failures.steps(error)


def test_of_a_group_whose_members_were_never_raised_it_is_its_own_line() -> None:
    """Better than none."""
    assert failures.whereabouts(raised_group(ValueError())).startswith(f"{__file__}:")
