"""What `holdgate fleet create` makes, from where it is made: each setting with its value and the reason beside it."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType

from docs.generate.settings import comments
from docs.generate.tables import table

from holdgate.brokers.kafka import fleet_topic
from holdgate.brokers.rabbitmq import fleet_log


def topic_table() -> str:
    """Name, value and reason of each setting of a Kafka topic."""
    return _table("setting", fleet_topic, "NEEDED")


def stream_table() -> str:
    """Name, value and reason of each argument of a RabbitMQ stream."""
    return _table("argument", fleet_log, "STREAM")


def _table(what: str, module: ModuleType, name: str) -> str:
    """Return the table of a mapping in a module. Raises KeyError for a key without a reason."""
    source = inspect.getsource(module)
    reasons, values = comments(source), getattr(module, name)
    return table((what, "value", "why"), [(f"`{key}`", f"`{values[key]}`", reasons[line]) for key, line in _lines(source, name)])


def _lines(source: str, name: str) -> list[tuple[str, int]]:
    """Return the keys of a mapping, and the lines that they are in."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict) and ast.unparse(node.target) == name:
            return [(key.value, key.lineno) for key in node.value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
    raise LookupError(f"there is no {name}")
