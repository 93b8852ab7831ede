"""Every public setting with its default and the reason beside it, read from the code; what it means is in meanings.py.

A default's reason is the comment on its line. Where the code has none because nothing is chosen (None, an empty list), meanings.py may
give one; what the code says wins, and one that both give is an error.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from docs.generate.meanings import MEANINGS, OTHER_REASONS
from docs.generate.tables import table

from holdgate import CircuitSettings, CountWindow, Dependency, Fleet, Guard, Limits, LogSettings, RampSettings, RetryPolicy, TimeWindow
from holdgate.brokers.confluent import ConfluentDeadLetters, ConfluentIntake
from holdgate.brokers.kafka import KafkaDeadLetters, KafkaFleetLog, KafkaIntake
from holdgate.brokers.rabbitmq import RabbitMQDeadLetters, RabbitMQFleetLog, RabbitMQIntake
from holdgate.brokers.redis import RedisFleetLog
from holdgate.brokers.share import ShareIntake
from holdgate.control import Control
from holdgate.integrations.celery import CeleryGuard
from holdgate.integrations.faststream import FastStreamGuard
from holdgate.integrations.taskiq import TaskiqGuard
from holdgate.testing import Outage, rehearse

# Whose settings they are, as the pages name it. A class of settings is read by its fields, everything else by its signature.
OWNERS: dict[str, type | Callable[..., object]] = {
    "Guard": Guard.__init__,
    "LogSettings": LogSettings,
    "Fleet": Fleet.__init__,
    "guard.run": Guard.run,
    "guard.deliveries": Guard.deliveries,
    "KafkaIntake": KafkaIntake.__init__,
    "KafkaDeadLetters": KafkaDeadLetters.__init__,
    "ConfluentIntake": ConfluentIntake.__init__,
    "ConfluentDeadLetters": ConfluentDeadLetters.__init__,
    "KafkaFleetLog": KafkaFleetLog.__init__,
    "RabbitMQIntake": RabbitMQIntake.__init__,
    "RabbitMQDeadLetters": RabbitMQDeadLetters.__init__,
    "ShareIntake": ShareIntake.__init__,
    "RabbitMQFleetLog": RabbitMQFleetLog.__init__,
    "RedisFleetLog": RedisFleetLog.__init__,
    "guard.patient": Guard.patient,
    "FastStreamGuard": FastStreamGuard.__init__,
    "CeleryGuard": CeleryGuard.__init__,
    "TaskiqGuard": TaskiqGuard.__init__,
    "Control": Control.__init__,
    "Dependency": Dependency.__init__,
    "Limits": Limits,
    "CircuitSettings": CircuitSettings,
    "CountWindow": CountWindow,
    "TimeWindow": TimeWindow,
    "RampSettings": RampSettings,
    "RetryPolicy": RetryPolicy,
    "rehearse": rehearse,
    "Outage": Outage,
}

# A linter's note, and why it is there, come before the reason for the value.
_NOTE = re.compile(r"noqa: [A-Z0-9]+ - frozen[.;]? ?")
# A default that gives way to other settings is told as the number that it usually is; to what it gives way is its meaning.
_USUAL = re.compile(r"Usual\((.*)\)")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as the code has it. `default` None: it must be given. `reason` is empty where the code has no comment."""

    name: str
    default: str | None
    reason: str


def settings_of(owner: str) -> list[Setting]:
    """The settings of one owner, in the order of the code."""
    source = textwrap.dedent(inspect.getsource(OWNERS[owner]))
    node = ast.parse(source).body[0]
    found_comments = comments(source)
    found = _fields(node) if isinstance(node, ast.ClassDef) else _parameters(node)
    return [Setting(name, None if default is None else ast.unparse(default), found_comments.get(line, "")) for name, default, line in found]


def settings_table(owner: str) -> str:
    """Name, default and meaning. Raises KeyError for a setting without a meaning."""
    meanings = MEANINGS[owner]
    return table(("setting", "default", "meaning"), [(f"`{each.name}`", _value(each), meanings[each.name]) for each in settings_of(owner)])


def defaults_table(owner: str) -> str:
    """Name, default and reason, of those that have a default. Raises KeyError for a default that nobody gives a reason for."""
    chosen = [each for each in settings_of(owner) if each.default is not None]
    return table(("setting", "default", "why"), [(f"`{each.name}`", _value(each), reason_for(owner, each)) for each in chosen])


def reason_for(owner: str, setting: Setting) -> str:
    """The code's own reason, or the one in meanings.py."""
    return setting.reason or OTHER_REASONS[owner][setting.name]


def _value(setting: Setting) -> str:
    if setting.default is None:
        return "none" if setting.name.startswith("*") else "must be given"
    usual = _USUAL.sub(r"\1", setting.default)
    return f"`{usual}`"


def comments(source: str) -> dict[int, str]:
    """Return the comment of each line that has one, without a note for a linter."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    return {line: _NOTE.sub("", comment) for line, comment in found.items()}


_Found = Iterator[tuple[str, ast.expr | None, int]]


def _fields(node: ast.ClassDef) -> _Found:
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            yield field.target.id, _factory(field.value), field.lineno


def _factory(value: ast.expr | None) -> ast.expr | None:
    """What `field(default_factory=...)` makes, or the value as it stands."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "field":
        maker = next(keyword.value for keyword in value.keywords if keyword.arg == "default_factory")
        return maker.body if isinstance(maker, ast.Lambda) else ast.Call(maker, [], [])
    return value


def _parameters(node: ast.stmt) -> _Found:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        raise TypeError(f"a {type(node).__name__} has no settings")
    arguments = node.args
    yield from ((each.arg, None, each.lineno) for each in arguments.args if each.arg != "self")
    if arguments.vararg is not None:
        yield f"*{arguments.vararg.arg}", None, arguments.vararg.lineno
    yield from ((each.arg, default, each.lineno) for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    if arguments.kwarg is not None:
        yield f"**{arguments.kwarg.arg}", None, arguments.kwarg.lineno
