"""The page of public names: a change of it is deliberate, and it shows what there is."""

from __future__ import annotations

import ast
import difflib
import importlib
import itertools
import sys
from typing import TYPE_CHECKING

import pytest
from docs.generate.pages import ROOT
from docs.generate.public_api import first_sentence, modules, public_names, sections, value_text

from holdgate import CountWindow, Partition, RampSettings, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PAGE = ROOT / "docs" / "reference" / "public-api.md"
START, END = "<!-- generate: public-api -->\n", "\n<!-- end -->"

_numbers = itertools.count()


def test_a_change_of_the_public_names_is_deliberate() -> None:
    """A name that is added, renamed or dropped, and a change of a signature, a default or a first sentence, is a failure with its diff."""
    kept = PAGE.read_text().partition(START)[2].partition(END)[0].splitlines()

    changes = list(difflib.unified_diff(kept, sections().splitlines(), "docs/reference/public-api.md", "the code", lineterm=""))

    remedy = "what users may import has changed. If that is meant, run `python -m docs.generate` and add a line to docs/changelog.md:"
    assert not changes, "\n".join([remedy, *changes])


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """Yield module and name of everything that a file imports from holdgate."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "holdgate":
            yield from ((node.module or "", alias.name) for alias in node.names)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.py")), ids=lambda path: path.name)
def test_examples_import_public_names_alone(path: Path) -> None:
    """No example shows an import that may go with the next version."""
    public = {(module, name) for module in modules() for name in public_names(importlib.import_module(module))}
    public |= {tuple(module.rsplit(".", 1)) for module in modules() if "." in module}

    assert set(imported(path)) <= public


def test_every_public_module_is_there() -> None:
    """The presets are found by looking, and a module that does not exist yet is left out."""
    assert {
        "holdgate",
        "holdgate.events",
        "holdgate.errors",
        "holdgate.ports",
        "holdgate.presets.sql",
        "holdgate.testing.conformance",
    } <= set(modules())
    assert "holdgate.flow.events" not in modules()  # holdgate.events is their one face


# -- how it looks ---------------------------------------------------------------------------------------------------------------------

SHOP = '''"""Things for sale. Not for rent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Protocol, TypeVar, overload

from {bank} import LIMIT, Coin

T = TypeVar("T")
Price = int | None
_secret = 1


class Size(Enum):
    """How large."""

    SMALL = "s"


class _Half:
    def sell(self, coin: Coin, *, limit: int = LIMIT) -> None:
        """Take a coin: at once. Give the thing."""


class Till(_Half):
    """Where coins go."""

    lamp: bool

    def __init__(self, price: Price = None) -> None:
        self.price = price

    def __len__(self) -> int:
        return 0

    @property
    def full(self) -> bool:
        return False

    @classmethod
    async def open(
        cls, first: int, /, second: float = float("inf"), *rest: Any, ending: Callable[[int], bool] = callable, others: int = 0
    ) -> Till:
        """Make one"""
        return cls()

    @overload
    def take(self, what: int) -> int: ...
    @overload
    def take(self, what: str) -> str: ...
    def take(self, what: Any) -> Any:
        """Take it."""

    def _hidden(self) -> None: ...


class Register(Till):
    def full_up(self) -> None: ...


@dataclass(frozen=True)
class Bill:
    at: float
    _: KW_ONLY
    size: Size = Size.SMALL
    items: list[str] = field(default_factory=lambda: ["pen"])


@dataclass(frozen=True)
class Receipt(Bill):
    """A bill that is paid."""

    number: int


class Entry(NamedTuple):
    second: int
    first: str


class Seller(Protocol):
    """Sells."""

    def sell(self) -> None: ...
'''
BANK = '"""Money."""\n\nLIMIT = 5\n\n\nclass Coin:\n    """Round."""\n'

SHOWN = '''## {shop}

Things for sale.

### Bill

```python
@dataclass(frozen=True)
class Bill:
    at: float
    _: KW_ONLY
    size: Size = Size.SMALL
    items: list[str] = ['pen']
```

### Entry

```python
class Entry(NamedTuple):
    second: int
    first: str
```

### Price

```python
Price = int | None
```

### Receipt

```python
@dataclass(frozen=True)
class Receipt(Bill):
    """A bill that is paid."""

    number: int
```

### Register

```python
class Register(Till):
    def full_up(self) -> None: ...
```

### Seller

```python
class Seller(Protocol):
    """Sells."""

    def sell(self) -> None: ...
```

### Size

```python
class Size(Enum):
    """How large."""

    SMALL = 's'
```

### Till

```python
class Till:
    """Where coins go."""

    lamp: bool

    def __init__(self, price: Price = None) -> None: ...

    def __len__(self) -> int: ...

    @property
    def full(self) -> bool: ...

    @classmethod
    async def open(
        cls,
        first: int,
        /,
        second: float = math.inf,
        *rest: Any,
        ending: Callable[[int], bool] = callable,
        others: int = 0,
    ) -> Till:
        """Make one"""

    def sell(self, coin: Coin, *, limit: int = 5) -> None:
        """Take a coin: at once."""

    @overload
    def take(self, what: int) -> int: ...
    @overload
    def take(self, what: str) -> str:
        """Take it."""
```'''


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """Makes an importable module of a text, under a name that nobody else has, and returns that name."""
    monkeypatch.syspath_prepend(tmp_path)
    names: list[str] = []

    def make(name: str, text: str) -> str:
        unique = f"{name}_{next(_numbers)}"
        (tmp_path / f"{unique}.py").write_text(text)
        names.append(unique)
        return unique

    yield make
    for name in names:
        sys.modules.pop(name, None)


def test_a_module_looks_like_a_stub(made: Callable[[str, str], str]) -> None:
    """Kinds, signatures and first sentences; what a hidden base gives is the class's own, what a public one gives stands there alone."""
    shop = made("shop", SHOP.replace("{bank}", made("bank", BANK)))

    assert sections([shop]) == SHOWN.replace("{shop}", shop)


def test_a_name_stands_once(made: Callable[[str, str], str]) -> None:
    """A second module that offers it says from where; a constant from elsewhere is as it is written there."""
    bank = made("bank", BANK)
    shop = made("shop", f'"""Sales."""\n\nfrom {bank} import LIMIT, Coin\n\n__all__ = ["LIMIT", "Coin"]\n')

    text = sections([bank, shop])

    assert text.count("class Coin:") == 1
    assert text.endswith(f"## {shop}\n\nSales.\n\nAlso here, from `{bank}`: `Coin`.\n\n### LIMIT\n\n```python\nLIMIT = 5\n```")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (State.OPEN, "State.OPEN"),
        (ConnectionError, "ConnectionError"),
        (frozenset({"b", "a"}), "{'a', 'b'}"),
        (frozenset(), "frozenset()"),
        ((State.OPEN,), "(State.OPEN,)"),
        (RampSettings(), "RampSettings()"),
        (RampSettings(initial=2), "RampSettings(initial=2)"),
        (CountWindow(5), "CountWindow(calls=5)"),
        (Partition("orders", 0), "Partition(topic='orders', number=0)"),
        (ConnectionError("gone"), "ConnectionError('gone')"),
        (object(), "object(...)"),
        (float("-inf"), "math.-inf"),
    ],
)
def test_a_default_is_written_as_somebody_would(value: object, text: str) -> None:
    """The same on every CPython: no address, no order of a set, no repr of an Enum."""
    assert value_text(value) == text


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("One. Two.", "One."),
        ("One over\n    two lines. Two.", "One over two lines."),
        ("No full stop\n\nNext paragraph. More.", "No full stop"),
        ("As in causes.py, not there. `Two` is next.", "As in causes.py, not there."),
        ("Ends (here). (More.)", "Ends (here)."),
        (None, ""),
    ],
)
def test_the_first_sentence(docstring: str | None, sentence: str) -> None:
    """Up to the first full stop with a capital after it, within the first paragraph."""
    assert first_sentence(docstring) == sentence
