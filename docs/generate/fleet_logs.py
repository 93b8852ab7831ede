"""The settings of a fleet's topic, from where it is made: each with its value and the reason beside it."""

from __future__ import annotations

import ast
import inspect

from docs.generate.settings import comments
from docs.generate.tables import table

from holdgate.brokers.kafka import fleet_topic


def topic_table() -> str:
    """Name, value and reason of each setting with which `holdgate fleet create` makes a topic. Raises KeyError for one without a reason."""
    source = inspect.getsource(fleet_topic)
    reasons = comments(source)
    rows = [(f"`{key}`", f"`{fleet_topic.NEEDED[key]}`", reasons[line]) for key, line in _lines(source)]
    return table(("setting", "value", "why"), rows)


def _lines(source: str) -> list[tuple[str, int]]:
    """Return the keys of NEEDED, and the lines that they are in."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict) and ast.unparse(node.target) == "NEEDED":
            return [(key.value, key.lineno) for key in node.value.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
    raise LookupError("fleet_topic.py has no NEEDED")
