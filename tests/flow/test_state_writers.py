"""Each record has one writer: only its own methods write a field of an `Assignment`, `Run`, `Hold`, `FailureHistory` or `Gate`.

Nor does anything else move its contents.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import holdgate
from holdgate.core.outcomes import MessageCounts
from holdgate.flow.blame import FailureHistory
from holdgate.flow.gate import Gate
from holdgate.flow.holding import Hold
from holdgate.flow.state import Assignment, Run

SOURCE = Path(holdgate.__file__).parent
FIELDS = {*Assignment.__slots__, *Run.__slots__}
HOLD_FIELDS = set(Hold.__slots__)
HISTORY_FIELDS = set(FailureHistory.__slots__)
GATE_FIELDS = {*Gate.__slots__, *MessageCounts.__slots__}
MOVING = {
    "add",
    "append",
    "appendleft",
    "clear",
    "discard",
    "extend",
    "insert",
    "pop",
    "popleft",
    "remove",
    "rotate",
    "setdefault",
    "update",
}

# What a record lends to one other file: a gate's assignments to state.py, its lines to waiting.py, a history's unclaimed failure to
# unclaimed.py.
LENT = {"gate.assignments": "state.py", "gate.lines": "waiting.py", "history.unclaimed": "unclaimed.py"}

# These run once for each message: a call of a method instead would be paid with every one.
HOT_PATH = {
    ("Engine.next", "assignment.idle"),
    ("Engine.next", "popleft().in_ring"),
    ("Engine.next", "ring.popleft"),
    ("Engine.next", "ring.rotate"),
    ("Engine.follow", "assignment.idle"),
    ("Engine.follow", "assignment.in_flight"),
    ("Engine.follow", "run.running"),
    ("Engine.follow", "run.yields"),
    ("Engine.succeeded", "assignment.in_flight"),
    ("Engine.succeeded", "run.running"),
    ("Engine.pass_on", "gate.successes"),
    ("record_successes", "gate.successes"),
}


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Every function of a module with its name, that of its class in front."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from (
                (f"{node.name}.{each.name}", each) for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            )
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node


def assigned_to(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign | ast.Delete):
        return [part for target in node.targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign | ast.For) else []


def field_of(node: ast.expr) -> str | None:
    """`assignment.blocked` for `delivery.assignment.blocked[0]`; None for what is no field of a record, or the writer's own."""
    while isinstance(node, ast.Subscript):
        node = node.value
    if not isinstance(node, ast.Attribute):
        return None
    receiver = ast.unparse(node.value).split(".")[-1]
    records = {"history": HISTORY_FIELDS, "hold": HOLD_FIELDS, "gate": GATE_FIELDS}
    fields = records.get(receiver.partition("_")[0].partition("(")[0], FIELDS)
    is_field = node.attr in fields and receiver != "self"
    return f"{receiver}.{node.attr}" if is_field else None


def writes(function: ast.AST) -> Iterator[str]:
    """The fields that a function writes, or whose contents it moves, also by another name for them."""
    other_names = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and field_of(node.value):
            other_names.add(node.targets[0].id)
    for node in ast.walk(function):
        yield from (field for each in assigned_to(node) if (field := field_of(each)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MOVING:
            receiver = node.func.value
            if field := field_of(receiver):
                yield field
            elif isinstance(receiver, ast.Name) and receiver.id in other_names:
                yield f"{receiver.id}.{node.func.attr}"


def foreign_writes(path: Path) -> Iterator[tuple[str, str]]:
    for name, function in functions(ast.parse(path.read_text(encoding="utf-8"))):
        for field in writes(function):
            # Elsewhere many things have a `source` or are `held`: there the name of the variable decides.
            if path.parent.name == "flow" or field.split(".")[0] in {"assignment", "run", "hold", "history", "gate"}:
                yield name, field


def test_only_their_own_methods_write_the_records() -> None:
    """Every other line that does is listed, and every line that is listed is still there."""
    files = [path for path in SOURCE.rglob("*.py") if path != SOURCE / "flow/state.py"]
    found = {(name, field) for path in files for name, field in foreign_writes(path) if LENT.get(field) != path.name}
    assert found == HOT_PATH


def test_an_assignment_does_not_write_its_hold_or_a_gate() -> None:
    """It calls their methods, as everybody else does. What a gate lends it is the list of those that need the gate."""
    written = {field for _, field in foreign_writes(SOURCE / "flow/state.py") if field.startswith(("hold.", "gate."))}
    assert written == {"gate.assignments"}


def test_a_write_is_found_however_it_is_written() -> None:
    """Else the rule would hold for want of looking."""
    lines = [
        "assignment.held = True",
        "delivery.assignment.run.running += 1",
        "a, assignment.blocked = assignment.blocked, []",
        "del run.assignments[source]",
        "run.dirty[assignment] = None",
        "assignment.unsent.pop(delivery)",
        "line = run.granted; line.popleft()",
        "delivery.history.backoffs = 0",
        "history_of(delivery).charged += 1",
        "assignment.hold.since = None",
        "delivery.assignment.gate.failures += 1",
        "gate.lines.setdefault(run, {})",
    ]
    found = [list(writes(ast.parse(line))) for line in lines]
    assert found == [
        ["assignment.held"],
        ["run.running"],
        ["assignment.blocked"],
        ["run.assignments"],
        ["run.dirty"],
        ["assignment.unsent"],
        ["line.popleft"],
        ["history.backoffs"],
        ["history_of(delivery).charged"],
        ["hold.since"],
        ["gate.failures"],
        ["gate.lines"],
    ]


def test_in_flight_is_moved_in_two_methods() -> None:
    """The count of an assignment and that of its run, always both."""
    moved: dict[str, list[str]] = {}
    for name, function in functions(ast.parse((SOURCE / "flow/state.py").read_text(encoding="utf-8"))):
        for node in ast.walk(function):
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Attribute) and node.target.attr in {"in_flight", "running"}:
                moved.setdefault(name, []).append(node.target.attr)
    assert moved == {"Assignment.started": ["in_flight", "running"], "Assignment.ended": ["in_flight", "running"]}
