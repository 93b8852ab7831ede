"""Which small changes of a source file its tests have to notice. The operators are mutmut's; the file on disk is never touched."""

from __future__ import annotations
import __future__

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import libcst

# A line and a column: both from 1 and 0, as libcst and ast count them.
Spot = tuple[int, int]

# Says something to type checkers and readers only, so that no run can tell it from anything else.
_TYPING = ("cast", "TypeVar", "ParamSpec", "TypeVarTuple")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one file: `first` and `last` are the lines of the statement that it is in, `source` is what it changes."""

    file: str
    scope: str
    before: str
    after: str
    first: int
    last: int
    source: str
    nth: int = 1

    @property
    def name(self) -> str:
        """The same from run to run, as long as nobody edits the line: the key of an argument in argued.toml.

        `nth` tells it from the same change of the same line elsewhere in the function.
        """
        again = f" (no. {self.nth})" if self.nth > 1 else ""
        return f"{self.scope}: `{self.before}` → `{self.after}`{again}"

    def code(self) -> CodeType:
        """The changed part of the file, compiled on its own: a function, a method in a class of the same name, or a whole statement."""
        return compile(self.source, self.file, "exec", flags=__future__.annotations.compiler_flag)


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a line stands: the lines of its innermost statement, and the smallest part of the file that runs without the rest."""

    scope: str
    first: int
    last: int
    begin: int
    end: int
    head: str  # of the class that this part is a method of

    def source(self, text: str, grown: int) -> str:
        """The part, of a text that is so many lines longer; each line where it was, for tracebacks."""
        lines = text.splitlines(keepends=True)[self.begin - 1 : self.end + grown]
        before = self.begin - 1
        return "\n" * (before - 1) + self.head + "\n" + "".join(lines) if self.head else "\n" * before + "".join(lines)


def mutants_of(path: Path, file: str) -> Iterator[Mutant]:
    """Every mutant of the file at `path`, in its order, under the name `file`."""
    # Not before: they take half a second to import, and each of the processes that share the tests collects this file.
    from libcst.metadata import MetadataWrapper, WhitespaceInclusivePositionProvider  # noqa: PLC0415 - as above
    from mutmut.mutation.file_mutation import create_mutations  # noqa: PLC0415 - as above

    text = path.read_text()
    # mutmut leaves out what is decorated, because of how it puts a mutant in place. Ours is put in place otherwise. Columns stay the same.
    module, mutations, *_ = create_mutations(str(path), text.replace("@property", "#property"))
    spans = MetadataWrapper(module, unsafe_skip_copy=True).resolve(WhitespaceInclusivePositionProvider)
    tree = ast.parse(text)
    silent = [*_silent(tree)]
    seen = {text}
    names: Counter[tuple[str, str, str]] = Counter()
    for mutation in mutations:
        span = spans[mutation.original_node]
        begin, end = (span.start.line, span.start.column), (span.end.line, span.end.column)
        if any(start <= begin < stop for start, stop in silent) or _is_typing(mutation.original_node):
            continue
        changed = _spliced(text, begin, end, module.code_for_node(mutation.mutated_node))
        if changed in seen:
            continue
        seen.add(changed)
        spot = _spot(tree, begin[0])
        before, after = _difference(text, changed)
        names[spot.scope, before, after] += 1
        source = spot.source(changed, changed.count("\n") - text.count("\n"))
        yield Mutant(file, spot.scope, before, after, spot.first, spot.last, source, names[spot.scope, before, after])


def _is_typing(node: libcst.CSTNode) -> bool:
    import libcst  # noqa: PLC0415 - see mutants_of

    return isinstance(node, libcst.Call) and isinstance(node.func, libcst.Name) and node.func.value in _TYPING


def _silent(tree: ast.Module) -> Iterator[tuple[Spot, Spot]]:
    """Where a change cannot be put in place or means nothing at run time: slots, members of an enum, what only type checkers read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(isinstance(it, ast.Name) and it.id.endswith("Enum") for it in node.bases):
            yield from (_span(it) for it in node.body if isinstance(it, ast.Assign))
        elif isinstance(node, ast.Call) and _called(node) == "cast":
            yield _span(node.args[0])
        elif isinstance(node, ast.If | ast.Assign) and _is_silent(node):
            yield _span(node)


def _is_silent(node: ast.If | ast.Assign) -> bool:
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if isinstance(node.value, ast.Call):
        return _called(node.value) in _TYPING
    return any(isinstance(it, ast.Name) and it.id == "__slots__" for it in node.targets)


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _span(node: ast.stmt | ast.expr) -> tuple[Spot, Spot]:
    return (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)


def _begin(statement: ast.stmt) -> int:
    decorators = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(it.lineno for it in decorators)])


def _spliced(text: str, begin: Spot, end: Spot, code: str) -> str:
    lines = text.splitlines(keepends=True)
    head = "".join(lines[: begin[0] - 1]) + lines[begin[0] - 1][: begin[1]]
    tail = lines[end[0] - 1][end[1] :] + "".join(lines[end[0] :])
    return head + code + tail


def _spot(tree: ast.Module, line: int) -> _Spot:
    """Of a compound statement the innermost is its head."""
    names: list[str] = []
    around: list[ast.stmt] = []
    first, last = line, line
    body: list[ast.stmt] = tree.body
    while found := next((it for it in body if _begin(it) <= line <= (it.end_lineno or 0)), None):
        around.append(found)
        if isinstance(found, ast.ClassDef | ast.FunctionDef):
            names.append(found.name)
        body = [it for field in ("body", "orelse", "finalbody", "handlers") for it in getattr(found, field, [])]
        first, last = _begin(found), min([found.end_lineno or 0, *(_begin(it) - 1 for it in body if _begin(it) > line)])
    part, head = around[0], ""
    if isinstance(part, ast.ClassDef) and len(around) > 1 and isinstance(around[1], ast.FunctionDef):
        head = f"class {part.name}({', '.join(ast.unparse(it) for it in part.bases)}):"
        part = around[1]
    return _Spot(".".join(names) or "module", first, last, _begin(part), part.end_lineno or 0, head)


def _difference(text: str, changed: str) -> tuple[str, str]:
    """The lines that differ, each side as one line."""
    old, new = ([line.strip() for line in it.splitlines()] for it in (text, changed))
    start = next((at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), min(len(old), len(new)))
    stop = 0
    while stop < min(len(old), len(new)) - start and old[-1 - stop] == new[-1 - stop]:
        stop += 1
    return " ".join(old[start : len(old) - stop]), " ".join(new[start : len(new) - stop])
