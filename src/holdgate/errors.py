"""Every exception of holdgate, one tree. Each says when it is raised and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING


class HoldgateError(Exception):
    """The root of all errors that holdgate raises."""


class SettingsError(HoldgateError, ValueError):
    """A setting, or two together, make no sense. The text names the values and the remedy. Raised at construction or start."""


class CommandError(HoldgateError):
    """A request cannot be carried out now: an operator's command, a step of the loop form, or `key=` for one delivery.

    Nothing has changed then. The text says why, and what to do instead.
    """


class MissingExtra(HoldgateError, ImportError):
    """An optional client library is not installed. The text is the install command."""


class IntakeError(HoldgateError):
    """The broker side cannot be used as it is: settings of the client, a missing topic, no authorisation, no broker.

    Raised by `guard.run` before anything is consumed, or, for what ends an intake later, after the run has drained.
    """


class FleetLogError(HoldgateError):
    """The fleet's log cannot be read or written now: it does not exist, this user may not use it, or its server does not answer.

    Raised by a `FleetLog`. The text says what to do. A guard goes on by its own rules meanwhile.
    """


class AlreadySettled(HoldgateError):
    """Other code settled or committed while the guard owns the consumer. The text says what to remove."""


class GuardClosed(HoldgateError):
    """The guard has stopped, or was never entered, so nothing can run on it."""


class UnknownAttribute(HoldgateError, AttributeError):
    """A delivery has no such attribute. The text names the one that is meant."""


class CallNotPermitted(HoldgateError):
    """A call form was refused because the dependency's circuit is open, or its ramp has no room.

    `dependency` is its name. `retry_at` is the monotonic second at which a try may be admitted; None means unknown, or that only an
    operator ends the refusal. This error is never an outcome, and never counted as a failure.
    """

    # Nothing is computed before it is read, because most refusals are caught unread. BaseException itself keeps the arguments, so copies
    # and pickles are made of the same ones. An `__init__` here, and a dict for its attributes, would double the cost of a refusal.
    if TYPE_CHECKING:

        def __init__(self, dependency: str, retry_at: float | None = None, /) -> None: ...

    @property
    def dependency(self) -> str:
        name: str = self.args[0]
        return name

    @property
    def retry_at(self) -> float | None:
        at: float | None = self.args[1] if len(self.args) > 1 else None
        return at

    def __str__(self) -> str:
        return f"dependency {self.dependency!r} does not admit calls now"


class WaitedTooLong(HoldgateError):
    """A patient call has waited for `wait_at_most` seconds, and what it needs has not come back, or had no room.

    `name` is that of the patient function, `dependencies` are the names of what it needs, and `waited` is in seconds. What the last attempt
    raised is its `__cause__`; None means that none was made. Let the framework try the message again later.
    """

    def __init__(self, name: str, dependencies: tuple[str, ...], waited: float) -> None:
        super().__init__(name, dependencies, waited)
        self.name = name
        self.dependencies = dependencies
        self.waited = waited

    def __str__(self) -> str:
        return f"{self.name} has waited for {', '.join(self.dependencies)} for {self.waited:.1f} s, which is all that wait_at_most allows"


class NeedsError(HoldgateError):
    """`needs=` is a function, and has not said what a message needs: it raised, or answered what is no dependency of the guard.

    The message fails with it instead of being handled, and ends by the retry policy. The text says what to change in the function.
    """


class Reject(HoldgateError):
    """A message can never be processed. Raised by a handler. `reason` goes to the dead letter and to events, so keep payload out."""

    def __init__(self, reason: str = "rejected by the handler") -> None:
        super().__init__(reason)
        self.reason = reason
