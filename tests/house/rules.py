"""The rules of the house that a test can check. CONTRIBUTING.md says why they are there.

`python -m tests.house` shows what each finds today; not_yet.toml and allowed.toml say what of it is known.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from tests.house import circles, heirs
from tests.house.tree import ROOT, SourceFile, SourceTree

# Below, a file is mostly imports and an idea cut in two; above, nobody reads it to its end. Half of h11's and trio's files lie within.
SHORTEST, LONGEST = 60, 700

# Each broker has a delivery, a client, a failure of its own, and so have the stand-ins for tests.
OWN_NAMES = ("holdgate.brokers.", "holdgate.testing")

_DROPS = "asyncio.wait_for"

# The floors that are tested file by file. Tests of other folders go by what a user does.
_MIRRORED = ("core", "flow", "fleet", "runtime", "brokers")

# What the rules for prose name word by word, and what to write instead. What stands in backticks is code.
WORDS = {
    "at once": (re.compile(r"\bat once\b"), "immediately, or in parallel"),
    "whoever": (re.compile(r"\bwhoever\b", re.IGNORECASE), "name the subject"),
    "None:": (re.compile(r"\bNone: "), "None means"),
}
_CODE = re.compile(r"`[^`]*`")


@dataclass(frozen=True)
class Rule:
    """A sentence, and what breaks it: a path or a class name, and how."""

    sentence: str
    find: Callable[[], dict[str, str]]


@cache
def source() -> SourceTree:
    """Everything that the wheel carries."""
    return SourceTree(ROOT / "src")


@cache
def package() -> SourceTree:
    """The product, without the laboratory."""
    return SourceTree(ROOT / "src", "holdgate")


@cache
def tests() -> SourceTree:
    """The tests and what they share."""
    return SourceTree(ROOT / "tests")


def short_files(tree: SourceTree) -> dict[str, str]:
    """Find the files that are too short. An `__init__` lists what a package offers and a `__main__` starts it, so both may be short."""
    files = [file for file in tree if file.path.name not in {"__init__.py", "__main__.py"}]
    return {tree.shown(file): f"{file.lines} lines" for file in files if file.lines < SHORTEST}


def long_files(tree: SourceTree) -> dict[str, str]:
    """Find the files that are too long."""
    return {tree.shown(file): f"{file.lines} lines" for file in tree if file.lines > LONGEST}


def files_in_circles(tree: SourceTree) -> dict[str, str]:
    """Find each file of a circle, with its lines that close the circle. The first file has the description of the whole circle."""
    found = {}
    for circle in circles.circles(circles.imports(tree)):
        first = tree.shown(tree.files[circle.files[0]])
        for name in circle.files:
            closing = "".join(f"; line {each.line} closes it: {each.text}" for each in circle.closing if each.importer == name)
            found[tree.shown(tree.files[name])] = f"in the circle of {len(circle.files)} files around {first}{closing}"
        found[first] = circles.described(circle, tree)
    return found


def repeated_class_names(tree: SourceTree) -> dict[str, str]:
    """Find class names that stand for several classes, outside brokers and testing."""
    where: dict[str, list[str]] = {}
    for file in tree:
        if not _has_own_names(file):
            for class_ in file.classes():
                where.setdefault(class_.name, []).append(f"{tree.shown(file)}:{class_.lineno}")
    return {name: ", ".join(places) for name, places in where.items() if len(places) > 1}


def waits_that_drop_a_cancellation(tree: SourceTree) -> dict[str, str]:
    """Find calls of `asyncio.wait_for`. With Python 3.11 a cancellation that comes in the step in which the awaited thing is done is lost,
    and a task that was to end goes on (https://github.com/python/cpython/issues/81839). `asyncio.timeout` keeps it."""
    found: dict[str, str] = {}
    for file in tree:
        lines = [str(node.lineno) for node in ast.walk(file.tree) if isinstance(node, ast.Attribute) and ast.unparse(node) == _DROPS]
        if lines:
            found[tree.shown(file)] = f"line {', '.join(lines)}: use asyncio.timeout"
    return found


def words_to_avoid(tree: SourceTree) -> dict[str, str]:
    """Find the words that have a plainer one, in docstrings, comments, log lines and error texts."""
    found: dict[str, str] = {}
    for file in tree:
        met = [f"line {line}: {word!r}, write {instead}" for line, word, instead in _words_in(file)]
        if met:
            found[tree.shown(file)] = "; ".join(met)
    return found


def _words_in(file: SourceFile) -> Iterator[tuple[int, str, str]]:
    texts = [
        (token.start[0], token.string)
        for token in tokenize.generate_tokens(io.StringIO(file.text).readline)
        if token.type == tokenize.COMMENT
    ]
    texts += [(node.lineno, node.value) for node in ast.walk(file.tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    for first, text in sorted(texts):
        plain = _CODE.sub(lambda code: "\n" * code.group().count("\n"), text)
        for word, (pattern, instead) in WORDS.items():
            yield from ((first + plain.count("\n", 0, met.start()), word, instead) for met in pattern.finditer(plain))


def tests_that_mirror_nothing(package: SourceTree, tests: SourceTree) -> dict[str, str]:
    """Find the files of tests that are not named after a file of the package: `flow/gate.py` is tested in `flow/test_gate[_part].py`."""
    found: dict[str, str] = {}
    for file in tests:
        folder, name = file.path.relative_to(tests.root).parent, file.path.stem
        mirrored = package.root / "holdgate" / folder
        if not name.startswith("test_") or folder.as_posix().partition("/")[0] not in _MIRRORED or not mirrored.is_dir():
            continue
        if not any(f"{name}_".startswith(f"test_{each.stem}_") for each in mirrored.glob("*.py")):
            found[tests.shown(file)] = f"src/holdgate/{folder.as_posix()} has no file of this name"
    return found


def _has_own_names(file: SourceFile) -> bool:
    return file.name.startswith(OWN_NAMES)


RULES = {
    "short": Rule(f"no file of src has fewer than {SHORTEST} lines", lambda: short_files(source())),
    "long": Rule(f"no file of src has more than {LONGEST} lines", lambda: long_files(source())),
    "long-tests": Rule(f"no file of the tests has more than {LONGEST} lines", lambda: long_files(tests())),
    "circles": Rule("no file of src can be reached from itself by imports", lambda: files_in_circles(source())),
    "names": Rule("a class name stands for one class, outside brokers and testing", lambda: repeated_class_names(source())),
    "waits": Rule("no file of src calls asyncio.wait_for", lambda: waits_that_drop_a_cancellation(source())),
    "mirror": Rule("a file of tests has the name of what it tests", lambda: tests_that_mirror_nothing(package(), tests())),
    "words": Rule("no text of holdgate has a word that means two things", lambda: words_to_avoid(package())),
    "heirs": Rule("no class is there for its only heir", lambda: heirs.lone_bases(source())),
}
