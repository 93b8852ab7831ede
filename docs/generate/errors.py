"""Every exception, from errors.py, and those of Python that are no failures by default, from core/outcomes.py."""

from __future__ import annotations

import inspect

from docs.generate.tables import sentence

from holdgate import errors
from holdgate.core.outcomes import PROGRAM_ERRORS


def sections() -> str:
    """One section for each exception, in the order of the file: what it is under, and what its docstring says."""
    classes = [each for each in vars(errors).values() if inspect.isclass(each) and each.__module__ == errors.__name__]
    return "\n\n".join(_section(each) for each in classes)


def program_errors() -> str:
    """Which exceptions are no failures of a dependency whose `failures` are left out."""
    return ", ".join(f"`{each.__name__}`" for each in PROGRAM_ERRORS)


def _section(error: type) -> str:
    bases = ", ".join(f"`{base.__name__}`" for base in error.__bases__)
    paragraphs = inspect.getdoc(error) or ""
    return f"## {error.__name__}\n\nA kind of {bases}.\n\n" + "\n\n".join(sentence(part) for part in paragraphs.split("\n\n"))
