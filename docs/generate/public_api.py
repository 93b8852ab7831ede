"""What users may import, as a stub file would show it: names, kinds, signatures with defaults, and the first sentence of each docstring.

The maker reads the running code. The text has only what the code's author wrote, so it is the same on every CPython. It does not name the
file of a class, so a move changes nothing.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import math
import pkgutil
import re
import textwrap
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cached_property
from types import FunctionType, ModuleType
from typing import Any, ForwardRef, ParamSpec, TypeVar, TypeVarTuple, get_overloads

from docs.generate.tables import sentence

# In the order of the page. A name that two of them offer stands with the first.
_MODULES = (
    "holdgate",
    "holdgate.events",
    "holdgate.errors",
    "holdgate.http",
    "holdgate.network",
    "holdgate.presets.*",
    "holdgate.brokers.kafka",
    "holdgate.brokers.confluent",
    "holdgate.brokers.rabbitmq",
    "holdgate.brokers.share",
    "holdgate.brokers.redis",
    "holdgate.integrations.faststream",
    "holdgate.integrations.celery",
    "holdgate.integrations.taskiq",
    "holdgate.integrations.asgi",
    "holdgate.control",
    "holdgate.config",
    "holdgate.ports",
    "holdgate.telemetry.prometheus",
    "holdgate.telemetry.otel",
    "holdgate.telemetry.spans",
    "holdgate.testing",
    "holdgate.testing.scripted.*",
    "holdgate.testing.conformance",
    "holdgate.core",
)

# How an object may be used beside calling its methods.
_USES = (
    "__call__",
    "__enter__",
    "__exit__",
    "__aenter__",
    "__aexit__",
    "__iter__",
    "__next__",
    "__aiter__",
    "__anext__",
    "__len__",
    "__getitem__",
)

# Longer than that, each parameter has a line, so that a change of one is a line of the diff.
_WIDE = 100
_FIRST_SENTENCE = re.compile(r"(.*?[.!?])(?=\s+[A-Z`(\d]|$)")


def modules() -> list[str]:
    """Return the names of the public modules."""
    return [found for name in _MODULES for found in _existing(name)]


def _existing(name: str) -> Iterator[str]:
    if name.endswith(".*"):
        package = importlib.import_module(name.removesuffix(".*"))
        yield from sorted(f"{package.__name__}.{each.name}" for each in pkgutil.iter_modules(package.__path__))
    elif importlib.util.find_spec(name) is not None:
        yield name


def public_names(module: ModuleType) -> list[str]:
    """Return what `__all__` lists. Without one, return what the module itself defines under a name without an underscore."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    made = [name for node in ast.parse(inspect.getsource(module)).body for name in _defined(node)]
    variables = (TypeVar, ParamSpec, TypeVarTuple)
    return sorted(name for name in made if not name.startswith("_") and not isinstance(getattr(module, name), variables))


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node.name
    elif isinstance(node, ast.Assign):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id


def sections(names: list[str] | None = None) -> str:
    """Make a section for each public module. None means all of them."""
    loaded = [importlib.import_module(name) for name in names or modules()]
    public = [value for module in loaded for name in public_names(module) if inspect.isclass(value := getattr(module, name))]
    shown: dict[int, str] = {}
    return "\n\n".join(_section(module, set(public), shown) for module in loaded)


def _section(module: ModuleType, public: set[type], shown: dict[int, str]) -> str:
    parts, before = [f"## {module.__name__}\n\n{first_sentence(module.__doc__)}"], dict[str, list[str]]()
    for name in public_names(module):
        value = getattr(module, name)
        if _is_code(value) and id(value) in shown:
            before.setdefault(shown[id(value)], []).append(name)
        else:
            shown[id(value)] = module.__name__
            parts.append(f"### {name}\n\n```python\n{_described(module, name, public)}\n```")
    parts[1:1] = [f"Also here, from `{owner}`: {', '.join(f'`{name}`' for name in names)}." for owner, names in before.items()]
    return "\n\n".join(parts)


def _is_code(value: object) -> bool:
    return inspect.isclass(value) or inspect.isfunction(value)


def _described(module: ModuleType, name: str, public: set[type]) -> str:
    value = getattr(module, name)
    if inspect.isclass(value):
        return _Class(value, public).text()
    return function_text(value) if inspect.isfunction(value) else _constant(module, name)


def first_sentence(docstring: str | None) -> str:
    """Return the first sentence, or the whole first paragraph if no sentence ends in it."""
    paragraph = sentence(inspect.cleandoc(docstring or "").split("\n\n")[0])
    found = _FIRST_SENTENCE.match(paragraph)
    return found.group(1) if found else paragraph


# -- constants ------------------------------------------------------------------------------------------------------------------------


def _constant(module: ModuleType, name: str) -> str:
    """Return the assignment. A number or text is shown by its value, a type as it is written."""
    node = _assignment(module, name)
    value = getattr(module, name)
    if isinstance(node, ast.AnnAssign):
        return f"{name}: {ast.unparse(node.annotation)}"
    return f"{name} = {value_text(value) if _is_plain(value) else ast.unparse(node.value)}"


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bytes)


def _assignment(module: ModuleType, name: str) -> ast.Assign | ast.AnnAssign:
    """Find the assignment of a name, in this module or in the one that it is imported from."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and name in _defined(node):
            return node
        if isinstance(node, ast.ImportFrom) and not node.level and name in [alias.name for alias in node.names]:
            return _assignment(importlib.import_module(node.module or ""), name)
    raise LookupError(f"{module.__name__} does not assign {name}")


# -- functions ------------------------------------------------------------------------------------------------------------------------


def function_text(function: Callable[..., Any], decorator: str = "") -> str:
    """Show a function or method as a stub. An overloaded one is shown by its overloads."""
    overloads = get_overloads(function) if isinstance(function, FunctionType) else []
    stubs = [f"@overload\n{_stub(each, None)}" for each in overloads[:-1]] + [
        f"@overload\n{_stub(each, function.__doc__)}" for each in overloads[-1:]
    ]
    return "\n".join(stubs or [decorator + _stub(function, function.__doc__)])


def _stub(function: Callable[..., Any], docstring: str | None) -> str:
    signature = inspect.signature(function)
    written = inspect.unwrap(function)
    start = "async def" if inspect.iscoroutinefunction(written) or inspect.isasyncgenfunction(written) else "def"
    returns = "" if signature.return_annotation is signature.empty else f" -> {_annotation(signature.return_annotation)}"
    parameters = _parameters(signature)
    head = f"{start} {function.__name__}({', '.join(parameters)}){returns}:"
    if len(head) > _WIDE:
        head = f"{start} {function.__name__}(\n" + "".join(f"    {each},\n" for each in parameters) + f"){returns}:"
    return head + _body(docstring)


def _body(docstring: str | None) -> str:
    summary = first_sentence(docstring)
    return f'\n    """{summary}"""' if summary else " ..."


def _parameters(signature: inspect.Signature) -> list[str]:
    """Return each parameter as it is written, and the marks `/` and `*` between the kinds."""
    texts: list[str] = []
    every = list(signature.parameters.values())
    for index, each in enumerate(every):
        before = every[index - 1].kind if index else None
        if before is each.POSITIONAL_ONLY is not each.kind:
            texts.append("/")
        if each.kind is each.KEYWORD_ONLY and before not in {each.KEYWORD_ONLY, each.VAR_POSITIONAL}:
            texts.append("*")
        texts.append(_parameter(each))
    if every and every[-1].kind is inspect.Parameter.POSITIONAL_ONLY:
        texts.append("/")
    return texts


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    typed = parameter.annotation is not parameter.empty
    text = f"{stars}{parameter.name}" + (f": {_annotation(parameter.annotation)}" if typed else "")
    if parameter.default is parameter.empty:
        return text
    return text + (" = " if typed else "=") + value_text(parameter.default)


def _annotation(annotation: Any) -> str:
    """Return it as it is written: `from __future__ import annotations` keeps the text, and a NamedTuple wraps it."""
    if isinstance(annotation, ForwardRef):
        return annotation.__forward_arg__
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def value_text(value: object) -> str:
    """Write a default as a person would. It has no address in memory, and no name of a constant: behind a name a value changes unseen."""
    if isinstance(value, float):  # also one that gives way to other settings
        return repr(float(value)) if math.isfinite(value) else f"math.{float(value)!r}"
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if inspect.isclass(value) or inspect.isfunction(value) or inspect.isbuiltin(value):
        return value.__name__
    if isinstance(value, frozenset | set):
        return f"{{{', '.join(sorted(value_text(each) for each in value))}}}" if value else f"{type(value).__name__}()"
    if isinstance(value, tuple) and type(value) is tuple:
        return f"({', '.join(value_text(each) for each in value)}{',' if len(value) == 1 else ''})"
    return _object_text(value)


def _object_text(value: object) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        given = [(each, getattr(value, each.name)) for each in dataclasses.fields(value) if each.init]
        chosen = [f"{each.name}={value_text(own)}" for each, own in given if own != _default(each)]
        return f"{type(value).__name__}({', '.join(chosen)})"
    text = repr(value)
    return f"{type(value).__name__}(...)" if " at 0x" in text else text


def _default(field: dataclasses.Field[Any]) -> object:
    """Return the default value, or `MISSING`, which equals nothing else, if there is none."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


# -- classes --------------------------------------------------------------------------------------------------------------------------


class _Class:
    """A public class. What it inherits from another public class is shown there and not here."""

    def __init__(self, described: type, public: set[type]) -> None:
        self._class = described
        self._public = public
        above = [each for each in described.__mro__[1:] if each in public]
        known = {base for each in above for base in each.__mro__}
        # The class and its bases that are not public: what these define looks like the class's own.
        self._own = [each for each in described.__mro__ if each not in known and _package(each) == _package(described)]

    @cached_property
    def _node(self) -> ast.ClassDef:
        nodes = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(self._class))))
        return next(node for node in nodes if isinstance(node, ast.ClassDef))

    def text(self) -> str:
        """Show the class as a stub."""
        bases = f"({', '.join(bases)})" if (bases := self._bases()) else ""
        # As it is written: a dataclass without a docstring gets its signature, in the words of the CPython that runs.
        summary = first_sentence(ast.get_docstring(self._node))
        blocks = [f'"""{summary}"""' if summary else "", "\n".join(self._attributes()), *self._methods()]
        body = "\n\n".join(textwrap.indent(block, "    ") for block in blocks if block)
        head = f"{self._decorator()}class {self._class.__name__}{bases}:"
        return f"{head}\n{body}" if body else f"{head} ..."

    def _decorator(self) -> str:
        if not dataclasses.is_dataclass(self._class):
            return ""
        return "@dataclass(frozen=True)\n" if self._class.__dataclass_params__.frozen else "@dataclass\n"

    def _bases(self) -> list[str]:
        """Return the bases as they are written, without those of ours that are not public."""
        hidden = {each.__name__ for each in self._own}
        return [text for base in self._node.bases if re.split(r"[\[.]", text := ast.unparse(base))[0] not in hidden]

    def _attributes(self) -> list[str]:
        if issubclass(self._class, Enum):
            return [f"{each.name} = {value_text(each.value)}" for each in self._class]
        if dataclasses.is_dataclass(self._class):
            return list(self._fields())
        typed = {name: text for each in reversed(self._own) for name, text in inspect.get_annotations(each).items()}
        # The fields of a tuple have an order; what else is annotated may be moved.
        names = getattr(self._class, "_fields", sorted(typed))
        return [f"{name}: {_annotation(typed[name])}" for name in names if not name.startswith("_")]

    def _fields(self) -> Iterator[str]:
        above = [base for base in self._class.__mro__[1:] if base in self._public and dataclasses.is_dataclass(base)]
        inherited = {each.name for base in above for each in dataclasses.fields(base)}
        keywords = False
        for each in dataclasses.fields(self._class):
            if each.init and each.name not in inherited:
                if each.kw_only and not keywords:
                    yield "_: KW_ONLY"
                keywords = each.kw_only
                default = _default(each)
                yield f"{each.name}: {_annotation(each.type)}" + ("" if default is dataclasses.MISSING else f" = {value_text(default)}")

    def _methods(self) -> list[str]:
        made = {name: value for each in reversed(self._own) for name, value in vars(each).items()}
        names = sorted(name for name in made if not name.startswith("_"))
        uses = [use for use in _USES if use in made and not (use in {"__enter__", "__exit__"} and _refuses(made))]
        texts = [self._constructor(made), *(_method(name, made[name]) for name in [*uses, *names])]
        return [text for text in texts if text]

    def _constructor(self, made: dict[str, Any]) -> str:
        """Return `__init__`, unless the fields or the members show how an object is made."""
        if dataclasses.is_dataclass(self._class) or issubclass(self._class, Enum) or getattr(self._class, "_is_protocol", False):
            return ""
        if inspect.isfunction(made.get("__init__")):
            return _stub(made["__init__"], None)
        # An `__init__` that only type checkers see.
        inits = [node for node in ast.walk(self._node) if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
        return "".join(f"def __init__({ast.unparse(node.args)}) -> None: ..." for node in inits)


def _refuses(made: dict[str, Any]) -> bool:
    """Return whether a class has `with` only to say that it is `async with`."""
    return "__enter__" in made and inspect.signature(made["__enter__"]).return_annotation == "NoReturn"


def _package(described: type) -> str:
    return described.__module__.partition(".")[0]


def _method(name: str, value: object) -> str:
    if isinstance(value, property | cached_property):
        getter = value.fget if isinstance(value, property) else value.func
        return function_text(getter, "@property\n") if getter is not None else ""
    if isinstance(value, classmethod | staticmethod):
        return function_text(value.__func__, f"@{type(value).__name__}\n")
    return function_text(value) if inspect.isfunction(value) and value.__name__ == name else ""
