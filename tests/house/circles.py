"""Import circles: files that import each other, directly or by way of others.

Every import statement counts, wherever it stands: at the top of a file, under `if TYPE_CHECKING`, inside a function. A reader follows an
import whenever Python does.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.house.tree import SourceFile, SourceTree


@dataclass(frozen=True, order=True)
class Import:
    """One import of a file of the tree by another."""

    importer: str
    line: int
    imported: str
    text: str


@dataclass(frozen=True)
class Circle:
    """Files that can all be reached from each other, and the imports without which none of them could be reached from itself."""

    files: tuple[str, ...]
    closing: tuple[Import, ...]


def imports(tree: SourceTree) -> list[Import]:
    """Return every import of one file of the tree by another."""
    return [found for file in tree for found in _imports_of(file, tree)]


def _imports_of(file: SourceFile, tree: SourceTree) -> Iterator[Import]:
    lines = file.text.splitlines()
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            targets = {tree.target(module, name) for module, name in _asked_for(node, file)} - {None, file.name}
            yield from (Import(file.name, node.lineno, target, lines[node.lineno - 1].strip()) for target in targets if target)


def _asked_for(node: ast.Import | ast.ImportFrom, file: SourceFile) -> Iterator[tuple[str, str | None]]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, None) for alias in node.names)
    else:
        module = _absolute(node, file)
        yield from ((module, alias.name) for alias in node.names)


def _absolute(node: ast.ImportFrom, file: SourceFile) -> str:
    """Return the full name of the module that `from ..core import x` means in this file."""
    if not node.level:
        return node.module or ""
    parents = file.package.split(".")
    base = parents[: len(parents) - (node.level - 1)]
    return ".".join([*base, *([node.module] if node.module else [])])


def described(circle: Circle, tree: SourceTree) -> str:
    """Write out the circle's files and the lines that close it."""
    shown = [tree.shown(tree.files[name]) for name in circle.files]
    closing = [f"    {tree.shown(tree.files[each.importer])}:{each.line}: {each.text}" for each in circle.closing]
    return "\n".join([f"a circle of {len(shown)} files: {', '.join(shown)}", "  closed by", *closing])


def circles(found: Iterable[Import]) -> list[Circle]:
    """Find the circles, largest first, then by name."""
    found = sorted(found)
    graph: dict[str, set[str]] = {}
    for each in found:
        graph.setdefault(each.importer, set()).add(each.imported)
        graph.setdefault(each.imported, set())
    groups = [sorted(group) for group in components(graph) if len(group) > 1]
    return [_circle(group, found) for group in sorted(groups, key=lambda group: (-len(group), group))]


def _circle(files: list[str], found: list[Import]) -> Circle:
    inside = [each for each in found if each.importer in files and each.imported in files]
    place = {name: index for index, name in enumerate(_lowest_first(files, inside))}
    return Circle(tuple(files), tuple(each for each in inside if place[each.imported] > place[each.importer]))


def _lowest_first(files: list[str], inside: list[Import]) -> list[str]:
    """Put the files in an order in which few imports point upwards, after Eades, Lin and Smyth (1993).

    A file that imports none of those left goes to the bottom. A file that none of those left imports goes to the top. If there is neither,
    the one that imports most and is imported least goes to the top.
    """
    edges = {(each.importer, each.imported) for each in inside}
    left, bottom, top = list(files), list[str](), list[str]()
    while left:
        out = {name: sum(a == name and b in left for a, b in edges) for name in left}
        into = {name: sum(b == name and a in left for a, b in edges) for name in left}
        chosen = next((name for name in left if not out[name]), None)
        if chosen is not None:
            bottom.append(chosen)
        else:
            chosen = max(left, key=lambda name: (not into[name], out[name] - into[name]))
            top.append(chosen)
        left.remove(chosen)
    return [*bottom, *reversed(top)]


def components(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Find the strongly connected components, after Tarjan (1972). Every node that an edge leads to must be a key."""
    return _Tarjan(graph).found


class _Tarjan:
    def __init__(self, graph: Mapping[str, Iterable[str]]) -> None:
        self.found: list[list[str]] = []
        self._graph = graph
        self._index: dict[str, int] = {}
        self._lowest: dict[str, int] = {}
        # A dict as an ordered set: the path with what hangs on it.
        self._open: dict[str, None] = {}
        for node in sorted(graph):
            if node not in self._index:
                self._visit(node)

    def _visit(self, node: str) -> None:
        self._index[node] = self._lowest[node] = len(self._index)
        self._open[node] = None
        for other in sorted(self._graph[node]):
            if other not in self._index:
                self._visit(other)
                self._lowest[node] = min(self._lowest[node], self._lowest[other])
            elif other in self._open:
                self._lowest[node] = min(self._lowest[node], self._index[other])
        if self._lowest[node] == self._index[node]:
            self._close(node)

    def _close(self, root: str) -> None:
        group = [root]
        while (node := self._open.popitem()[0]) != root:
            group.append(node)
        self.found.append(group)
