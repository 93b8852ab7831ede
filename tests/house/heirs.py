"""Base classes that only keep a file short: one heir, in the same package, and nobody ever makes one."""

from __future__ import annotations

import ast
import builtins
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.house.tree import SourceFile, SourceTree

# What such a class is for is more than its code: a shape, a contract, a kind of error.
_MEANT_TO_BE_INHERITED = {"ABC", "Protocol"} | {
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
}


def lone_bases(tree: SourceTree) -> dict[str, str]:
    """Find these classes, each with its place and its heir. If two packages have a class of that name, one use counts for both."""
    made = {(file.package, class_.name): (file, class_) for file in tree for class_ in file.classes()}
    heirs: dict[str, list[tuple[str, str]]] = {}
    for file in tree:
        for class_ in file.classes():
            for base in _bases(class_):
                heirs.setdefault(base, []).append((file.package, class_.name))
    used = {name for file in tree for names in (_values(file.tree), _exported(file.tree)) for name in names}
    found = {}
    for name, own in heirs.items():
        package, heir = own[0]
        if len(own) == 1 and name not in used and (package, name) in made:
            file, class_ = made[package, name]
            if not _kinds(class_, package, made) & _MEANT_TO_BE_INHERITED:
                found[name] = f"{tree.shown(file)}:{class_.lineno}: {heir} alone inherits from {name}, and nobody makes one"
    return found


def _bases(class_: ast.ClassDef) -> list[str]:
    return [name for base in class_.bases if (name := _last_name(base))]


def _last_name(node: ast.expr) -> str | None:
    """Return `Base` for `Base`, `module.Base` and `Base[T]`."""
    if isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _kinds(class_: ast.ClassDef, package: str, made: dict[tuple[str, str], tuple[SourceFile, ast.ClassDef]]) -> set[str]:
    """Collect the names of all classes above this one, as far as they are in the same package."""
    above = set(_bases(class_)) | {name for keyword in class_.keywords if (name := _last_name(keyword.value))}
    for name in list(above):
        if (package, name) in made and name != class_.name:
            above |= _kinds(made[package, name][1], package, made)
    return {"ABC" if name == "ABCMeta" else name for name in above}


def _exported(tree: ast.Module) -> Iterable[str]:
    """Yield what `__all__` lists."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets):
            yield from ast.literal_eval(node.value)


def _values(node: ast.AST) -> Iterator[str]:
    """Yield the names that may make an object: those in an expression, but not in a type and not as a base."""
    if isinstance(node, ast.Name):
        yield node.id
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns"} or (name == "bases" and isinstance(node, ast.ClassDef)):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _attribute_of(child) if isinstance(child, ast.Attribute) else _values(child)


def _attribute_of(node: ast.Attribute) -> Iterator[str]:
    """Yield `Base` for `module.Base`, which may make one, and nothing for `Base.method`, where `super()` would do."""
    yield node.attr
    if not isinstance(node.value, ast.Name):
        yield from _values(node.value)
