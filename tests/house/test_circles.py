"""How import circles are found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.house.circles import Circle, Import, circles, components, described, imports

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.house.tree import SourceTree

    Written = Callable[[dict[str, str]], SourceTree]

EMPTY = {"shop/__init__.py": "", "shop/bank.py": "", "shop/deep/__init__.py": "", "shop/deep/safe.py": ""}


@pytest.mark.parametrize(
    "text",
    [
        "import shop.bank",
        "from shop.bank import money",
        "from shop import bank",
        "from .bank import money",
        "from . import bank",
        "if TYPE_CHECKING:\n    from shop.bank import Money",
        "def pay():\n    from shop.bank import money",
        "class Till:\n    import shop.bank",
        "try:\n    import shop.bank\nexcept ImportError:\n    pass",
    ],
)
def test_an_import_counts_wherever_it_stands(written: Written, text: str) -> None:
    """At the top, for types only, in a function; by its full name or relative to the package."""
    tree = written(EMPTY | {"shop/till.py": f"{text}\n"})

    assert [(each.importer, each.imported) for each in imports(tree)] == [("shop.till", "shop.bank")]


def test_a_package_is_meant_where_the_name_is_its_own(written: Written) -> None:
    """`from shop import Money` reads shop/__init__.py, and so does `import shop`; two names of one line are one import."""
    tree = written(EMPTY | {"shop/till.py": "from shop import Coin, Money\n\nimport shop\n"})

    assert imports(tree) == [Import("shop.till", 1, "shop", "from shop import Coin, Money"), Import("shop.till", 3, "shop", "import shop")]


def test_a_relative_import_starts_at_its_own_package(written: Written) -> None:
    """In an `__init__` the first dot is the package itself, in any other file the one around it."""
    tree = written(EMPTY | {"shop/deep/__init__.py": "from .safe import lock\n", "shop/deep/safe.py": "from ..bank import money\n"})

    assert [(each.importer, each.imported) for each in imports(tree)] == [("shop.deep", "shop.deep.safe"), ("shop.deep.safe", "shop.bank")]


def test_what_is_not_ours_is_no_import_of_ours(written: Written) -> None:
    """The standard library, a client, and a file that names itself."""
    assert imports(written(EMPTY | {"shop/till.py": "import json\nfrom aiokafka import AIOKafkaConsumer\nimport shop.till\n"})) == []


def test_a_circle_is_told_with_the_lines_that_close_it(written: Written) -> None:
    """Each file that can be reached from itself, and where to cut."""
    files = {"shop/till.py": "from shop.bank import money\n", "shop/bank.py": "\n\nif TYPE_CHECKING:\n    from shop.till import Till\n"}
    tree = written(EMPTY | files)

    (circle,) = circles(imports(tree))

    assert circle.files == ("shop.bank", "shop.till")
    assert len(circle.closing) == 1
    text = described(circle, tree)
    assert text.startswith("a circle of 2 files: src/shop/bank.py, src/shop/till.py\n")
    assert "src/shop/till.py:1: from shop.bank import money" in text or "src/shop/bank.py:4: from shop.till import Till" in text


def test_without_a_circle_there_is_none(written: Written) -> None:
    """Three files that import each other in one direction, two of them the same third."""
    files = {"shop/till.py": "import shop.bank, shop.deep.safe\n", "shop/bank.py": "import shop.deep.safe\n"}

    assert circles(imports(written(EMPTY | files))) == []


def test_the_largest_circle_comes_first() -> None:
    """Two circles that know of each other in one direction stay two."""
    assert [len(circle.files) for circle in circles(_edges("ab ba bc cd de ec"))] == [3, 2]


EDGES = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")).filter(lambda edge: edge[0] != edge[1]), max_size=24)


@given(EDGES)
def test_components_are_what_can_reach_each_other(edges: list[tuple[str, str]]) -> None:
    """As a naive search finds it."""
    graph: dict[str, set[str]] = {name: {b for a, b in edges if a == name} for name in "abcdefgh"}

    found = {frozenset(group) for group in components(graph)}

    reach = {name: _reachable(name, graph) for name in graph}
    assert found == {frozenset(other for other in graph if other in reach[name] and name in reach[other]) for name in graph}


@given(EDGES)
def test_without_the_closing_lines_there_is_no_circle(edges: list[tuple[str, str]]) -> None:
    """They are enough to cut, and each of them belongs to its circle."""
    found = [Import(a, 1, b, "") for a, b in edges]

    closing = {each for circle in circles(found) for each in circle.closing}

    assert circles([each for each in found if each not in closing]) == []
    assert all(_within(each, circles(found)) for each in closing)


def _edges(text: str) -> list[Import]:
    return [Import(a, 1, b, "") for a, b in text.split()]


def _reachable(start: str, graph: dict[str, set[str]]) -> set[str]:
    seen, todo = {start}, [start]
    while todo:
        new = graph[todo.pop()] - seen
        seen |= new
        todo.extend(new)
    return seen


def _within(each: Import, found: list[Circle]) -> bool:
    return any({each.importer, each.imported} <= set(circle.files) for circle in found)
