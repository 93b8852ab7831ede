"""Every exception, from errors.py."""

from __future__ import annotations

import inspect

from docs.generate.tables import sentence

from holdgate import errors


def sections() -> str:
    """One section for each exception, in the order of the file: what it is under, and what its docstring says."""
    classes = [each for each in vars(errors).values() if inspect.isclass(each) and each.__module__ == errors.__name__]
    return "\n\n".join(_section(each) for each in classes)


def _section(error: type) -> str:
    bases = ", ".join(f"`{base.__name__}`" for base in error.__bases__)
    paragraphs = inspect.getdoc(error) or ""
    return f"## {error.__name__}\n\nA kind of {bases}.\n\n" + "\n\n".join(sentence(part) for part in paragraphs.split("\n\n"))
