"""Puts a mutant in place of the code that the tests have imported, in the process that is going to end with it."""

from __future__ import annotations

import sys
from types import FunctionType, ModuleType
from typing import Any

from tests.mutation.mutants import Mutant

# What is copied by value wherever it was imported; an object of another kind belongs to the fresh copy of its class.
_PLAIN = (int, float, str, bytes, bool, type(None))


def put_in_place(mutant: Mutant, module: ModuleType) -> bool:
    """Let everybody who holds a function, class or plain constant of `module` have the mutant's. False: nothing was there to exchange."""
    fresh = dict(vars(module))
    exec(mutant.code(), fresh)  # noqa: S102 - the file under test, but for one change
    return _exchange_all(module, fresh)


def _exchange_all(owner: Any, fresh: dict[str, Any]) -> bool:
    changed = {name: it for name, it in vars(owner).items() if name in fresh and fresh[name] is not it}
    return sum(_exchange(owner, name, it, fresh[name]) for name, it in changed.items()) > 0


def _exchange(owner: Any, name: str, old: Any, new: Any) -> bool:
    if isinstance(old, FunctionType) and isinstance(new, FunctionType):
        return _exchange_function(old, new)
    if isinstance(old, property) and isinstance(new, property):
        return _exchange(owner, name, old.fget, new.fget)
    if isinstance(old, classmethod | staticmethod) and isinstance(new, classmethod | staticmethod):
        return _exchange(owner, name, old.__func__, new.__func__)
    if isinstance(old, type) and isinstance(new, type):
        return _exchange_all(old, dict(vars(new)))
    if name.startswith("__") or not isinstance(old, _PLAIN) or not isinstance(new, _PLAIN) or (type(old), old) == (type(new), new):
        return False
    for holder in [owner, *(it for key, it in list(sys.modules.items()) if key.startswith("holdgate."))]:
        if vars(holder).get(name, _PLAIN) is old:
            setattr(holder, name, new)
    return True


def _exchange_function(old: FunctionType, new: FunctionType) -> bool:
    """Callers hold the function itself, so that its parts are exchanged."""
    before = (old.__code__, old.__defaults__, old.__kwdefaults__)
    old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__
    return before != (new.__code__, new.__defaults__, new.__kwdefaults__)
