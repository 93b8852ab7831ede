"""The rules of the house, held by the code; and what they see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.house import known, rules
from tests.house.heirs import lone_bases
from tests.house.tree import SourceTree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Written = Callable[[dict[str, str]], SourceTree]


@pytest.mark.parametrize("name", rules.RULES)
def test_the_house_keeps_the_rule(name: str) -> None:
    """Nothing breaks it but what is listed with a reason, and nothing is listed that has become fine."""
    rule = rules.RULES[name]
    allowed, not_yet = known.load(known.ALLOWED), known.load(known.NOT_YET)

    wrong = known.complaints(rule.find(), allowed.get(name, {}), not_yet.get(name, {}))

    assert not wrong, "\n".join([f"{rule.sentence} (python -m tests.house {name}):", *wrong])


def test_the_lists_are_about_rules_that_exist() -> None:
    """A misspelt section would allow nothing and hide nothing, and look as if it did."""
    assert {*known.load(known.ALLOWED), *known.load(known.NOT_YET)} <= set(rules.RULES)


def test_the_whole_package_is_looked_at() -> None:
    """A rule that reads the wrong folder finds nothing and is always kept."""
    names = set(rules.source().files)

    assert {"holdgate", "holdgate.ports", "holdgate.core.circuit", "holdgate.flow.engine", "holdgate.brokers.kafka.intake"} <= names
    assert "tests.house.test_rules" in {f"tests.{name}" for name in rules.tests().files}


# -- lengths --------------------------------------------------------------------------------------------------------------------------


def test_a_file_may_have_sixty_to_seven_hundred_lines(written: Written) -> None:
    """The two ends are within."""
    tree = written({f"shop/of_{lines}.py": "x = 1\n" * lines for lines in (59, 60, 700, 701)})

    assert rules.short_files(tree) == {"src/shop/of_59.py": "59 lines"}
    assert rules.long_files(tree) == {"src/shop/of_701.py": "701 lines"}


def test_what_a_package_offers_may_be_short(written: Written) -> None:
    """`__init__` and `__main__` are as short as they can be, and not longer than any other file."""
    tree = written({"shop/__init__.py": "", "shop/__main__.py": "", "till/__init__.py": "x = 1\n" * 701})

    assert rules.short_files(tree) == {}
    assert set(rules.long_files(tree)) == {"src/till/__init__.py"}


# -- names ----------------------------------------------------------------------------------------------------------------------------


def test_a_class_name_stands_for_one_class(written: Written) -> None:
    """Also where one of the two stands inside another class or a function."""
    tree = written({"shop/till.py": "class Till: ...\nclass Coin: ...\n", "shop/bank.py": "def open():\n    class Till: ...\n"})

    assert rules.repeated_class_names(tree) == {"Till": "src/shop/bank.py:2, src/shop/till.py:1"}


@pytest.mark.parametrize("folder", ["brokers/kafka", "brokers/rabbitmq", "testing"])
def test_a_broker_may_call_the_same_things_by_the_same_names(written: Written, folder: str) -> None:
    """So may what stands in for one in tests."""
    tree = written({"holdgate/flow/till.py": "class Till: ...", f"holdgate/{folder}/till.py": "class Till: ..."})

    assert rules.repeated_class_names(tree) == {}


# -- heirs ----------------------------------------------------------------------------------------------------------------------------

HALVES = {"shop/half.py": "class Half: ...\n", "shop/whole.py": "from shop.half import Half\n\nclass Whole(Half): ...\n"}


def test_a_class_that_is_there_for_its_only_heir_is_found(written: Written) -> None:
    """Two files, one idea."""
    assert lone_bases(written(HALVES)) == {"Half": "src/shop/half.py:1: Whole alone inherits from Half, and nobody makes one"}


@pytest.mark.parametrize(
    "more",
    [
        "half: Half\n",
        "def whole() -> Half: ...\n",
        "def cut(half: Half) -> None: ...\n",
        "class Other:\n    def cut(self) -> None:\n        Half.cut(self)\n",
    ],
    ids=["a variable's type", "a result's type", "an argument's type", "a method of it"],
)
def test_a_name_in_a_type_makes_no_instance(written: Written, more: str) -> None:
    """Nobody has a `Half` for that."""
    assert set(lone_bases(written(HALVES | {"shop/more.py": f"from shop.half import Half\n\n{more}"}))) == {"Half"}


@pytest.mark.parametrize(
    "files",
    [
        {"shop/more.py": "from shop.half import Half\n\nhalf = Half()\n"},
        {"shop/more.py": "from shop import half\n\nhalf.Half()\n"},
        {"shop/more.py": "from shop.half import Half\n\nmake = Half\n"},
        {"shop/more.py": "from shop.half import Half\n\nclass Other(Half): ...\n"},
        {"shop/__init__.py": "from shop.half import Half\n\n__all__ = ['Half']\n"},
        {"shop/half.py": "from typing import Protocol\n\nclass Half(Protocol): ...\n"},
        {"shop/half.py": "import abc\n\nclass Half(metaclass=abc.ABCMeta): ...\n"},
        {"shop/half.py": "class Half(ValueError): ...\n"},
        {"shop/half.py": "class Wrong(ValueError): ...\n\nclass Half(Wrong): ...\n", "shop/more.py": "class Wronger(Wrong): ...\n"},
        {"bank/whole.py": "from shop.half import Half\n\nclass Whole(Half): ...\n", "shop/whole.py": ""},
    ],
    ids=[
        "made",
        "made by module",
        "handed on",
        "two heirs",
        "exported",
        "Protocol",
        "ABC",
        "error",
        "indirectly an error",
        "another package",
    ],
)
def test_a_class_with_a_life_of_its_own_may_have_one_heir(written: Written, files: dict[str, str]) -> None:
    """It is made, shown to users, a contract or an error, or it serves another package."""
    assert lone_bases(written(HALVES | files)) == {}


# -- the lists ------------------------------------------------------------------------------------------------------------------------


def test_the_lists_only_shrink_by_themselves() -> None:
    """What is new is a failure, and so is an entry that has become fine or stands twice."""
    assert known.complaints({"a": "59 lines"}, {}, {"a": "soon"}) == []
    assert known.complaints({"a": "59 lines"}, {"a": "so be it"}, {}) == []
    assert known.complaints({"a": "59 lines", "b": "3 lines"}, {}, {"a": "soon"}) == ["b: 3 lines"]
    assert known.complaints({}, {}, {"a": "soon"}) == ["a no longer breaks the rule: drop it from not_yet.toml"]
    assert known.complaints({}, {"a": "so be it"}, {}) == ["a no longer breaks the rule: drop it from allowed.toml"]
    assert known.complaints({"a": "59 lines"}, {"a": "so be it"}, {"a": "soon"}) == ["a stands in both lists"]


def test_a_list_shrinks_and_keeps_its_words(tmp_path: Path) -> None:
    """What is fine now goes with its section, reasons and the head stay, and the count says how many are left."""
    path = tmp_path / "list.toml"
    path.write_text("# The head.\n# Two lines of it.\n")
    known.save(path, {"short": {"a.py": 'says "so"', "b.py": "soon"}, "long": {"c.py": "later"}})

    known.save(path, known.shrunk(known.load(path), {"short": {"a.py": "59 lines"}, "long": {}}))

    assert path.read_text() == '# The head.\n# Two lines of it.\n\n[short]\ncount = 1\n[short.known]\n"a.py" = "says \\"so\\""\n'


def test_a_count_that_is_wrong_is_an_error(tmp_path: Path) -> None:
    """It is there so that a change of the list shows whether the list became longer."""
    path = tmp_path / "list.toml"
    path.write_text('[short]\ncount = 2\n[short.known]\n"a.py" = "soon"\n')

    with pytest.raises(ValueError, match=r"list.toml: \[short\] must say count = 1, got 2"):
        known.load(path)


# -- waits ----------------------------------------------------------------------------------------------------------------------------


def test_a_wait_that_may_drop_a_cancellation_is_found(written: Written) -> None:
    """Each with its line; a name that only looks like it is another thing."""
    tree = written({"shop/till.py": "import asyncio\n\nasyncio.wait_for(x, 1)\n", "shop/bank.py": "pace.wait_for(1)\nasyncio.timeout(1)\n"})

    assert rules.waits_that_drop_a_cancellation(tree) == {"src/shop/till.py": "line 3: use asyncio.timeout"}


# -- words ----------------------------------------------------------------------------------------------------------------------------

_TEXTS = """\
'''A head.

It comes back at once.
'''

x = 1  # None: nothing, and whoever asks


def fail() -> None:
    raise ValueError(f"{x} fails at once")
"""


def test_words_that_have_a_plainer_one_are_found(written: Written) -> None:
    """In docstrings, comments and texts, each with its line and what to write instead."""
    found = rules.words_to_avoid(written({"shop/till.py": _TEXTS}))

    assert found["src/shop/till.py"].split("; ") == [
        "line 3: 'at once', write immediately, or in parallel",
        "line 6: 'whoever', write name the subject",
        "line 6: 'None:', write None means",
        "line 10: 'at once', write immediately, or in parallel",
    ]


def test_code_is_no_prose(written: Written) -> None:
    """A name is not a word, and neither is what stands in backticks."""
    code = "def ring(at_once: bool) -> None: ...\n\n\nx = {None: 1}  # as `None: 1`\n"

    assert rules.words_to_avoid(written({"shop/till.py": code})) == {}


# -- mirror ---------------------------------------------------------------------------------------------------------------------------

MIRRORED = (
    *("flow/test_gate", "flow/test_gate_of_iron", "flow/test_gates", "flow/test_bank", "flow/keeper"),
    *("core/test_gate", "core/scenes/test_any", "cli/test_any"),
)


def test_a_file_of_tests_is_named_after_what_it_tests(tmp_path: Path) -> None:
    """With a part of that behind the name, or without; one that only begins alike is another. Other folders go by other rules."""
    for path in ("src/holdgate/flow/gate.py", "src/holdgate/core/circuit.py", *(f"tests/{each}.py" for each in MIRRORED)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")

    found = rules.tests_that_mirror_nothing(SourceTree(tmp_path / "src"), SourceTree(tmp_path / "tests"))

    assert set(found) == {"tests/flow/test_gates.py", "tests/flow/test_bank.py", "tests/core/test_gate.py"}
