"""The document of `/status`, field by field, from the types in flow/status.py: what a field means is the comment on its line."""

from __future__ import annotations

import ast
import inspect

from docs.generate.settings import comments
from docs.generate.tables import sentence, table

from holdgate.flow import status

# In the order of the document, with what contains each.
_PARTS = {
    "StatusDocument": "The document",
    "HealthStatus": "`health`",
    "SummaryStatus": "`summary`",
    "DependencyStatus": "Each of `dependencies`",
    "LimitStatus": "`limits` of a dependency",
    "KeysStatus": "`keys` of a dependency",
    "FleetShareStatus": "`fleet` of a dependency",
    "WorkerShareStatus": "Each of `shares` of the `fleet` of a dependency",
    "FailureStatus": "Each of `failed_with` of a dependency",
    "SourceStatus": "Each of `sources`",
    "PartlyStatus": "`partly` of a source",
    "BlockedStatus": "`blocked` of a source",
    "RetryStatus": "`retrying` of a source",
    "CommandStatus": "Each of `commands`, and each entry of `/audit`",
    "MemoryStatus": "`memory`",
    "FleetStatus": "`fleet`",
    "FleetMemberStatus": "Each of `members` of the fleet",
}
# What JSON has for a type. Everything else is an object with a table of its own.
_JSON = {"dict[str, int]": "numbers by name", "str": "text", "int": "number", "float": "number", "bool": "true or false"}


def sections() -> str:
    """One table for each type, in the order of the document. Raises KeyError for a type that this page does not name."""
    source = inspect.getsource(status)
    found = comments(source)
    types = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and _is_typed_dict(node)}
    if types.keys() != _PARTS.keys():
        raise KeyError(f"docs/generate/status_document.py must name {sorted(types.keys() ^ _PARTS.keys())}")
    return "\n\n".join(_section(types[name], found) for name in _PARTS)


def _is_typed_dict(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "TypedDict" for base in node.bases)


def _section(node: ast.ClassDef, found: dict[int, str]) -> str:
    fields = [each for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)]
    rows = [(f"`{ast.unparse(each.target)}`", _kind(ast.unparse(each.annotation)), found.get(each.lineno, "")) for each in fields]
    return f"## {_PARTS[node.name]}\n\n{sentence(ast.get_docstring(node))}\n\n{table(('field', 'what it is', 'meaning'), rows)}"


def _kind(annotation: str) -> str:
    kind, _, null = annotation.partition(" | ")
    if kind.startswith(("list[", "tuple[")):
        inner = kind.partition("[")[2].removesuffix("]").removesuffix(", ...")
        kind = f"list of {_JSON[inner]}s" if inner in _JSON else "list, see below"
    else:
        kind = _JSON.get(kind, "object, see below")
    return f"{kind} or null" if null else kind
