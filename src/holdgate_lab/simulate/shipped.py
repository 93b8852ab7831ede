"""Scenario files by name: one that comes with holdgate, or a path."""

from __future__ import annotations

import difflib
import os
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from holdgate.config.toml_file import TomlFile, parse_toml, read_toml
from holdgate.errors import SettingsError

_SUFFIX = ".toml"


def shipped() -> dict[str, Traversable]:
    """Every scenario that comes with holdgate, by name."""
    folder = files("holdgate_lab") / "scenarios"
    found = {each.name.removesuffix(_SUFFIX): each for each in folder.iterdir() if each.name.endswith(_SUFFIX)}
    return dict(sorted(found.items()))


def named(argument: str) -> TomlFile:
    """The file with this path, or the shipped scenario of this name. Raises SettingsError with the nearest name for neither."""
    path = Path(argument)
    known = shipped()
    if argument in known and not path.is_file():
        return parse_toml(argument + _SUFFIX, known[argument].read_text(encoding="utf-8"))
    if path.exists() or argument.endswith(_SUFFIX) or "/" in argument or os.sep in argument:
        return read_toml(path)
    near = difflib.get_close_matches(argument, known, n=1)
    guess = f"did you mean {near[0]}?" if near else "holdgate simulate --list names them."
    raise SettingsError(f"{argument!r} is neither a file nor a scenario that comes with holdgate; {guess}")


def name_of(file: TomlFile) -> str:
    """What a scenario is called that gives itself no name: as its file."""
    return Path(file.name).stem
