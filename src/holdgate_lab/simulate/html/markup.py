"""HTML and SVG by hand: elements whose text and attributes are escaped unless they are elements themselves."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


class Markup(str):
    """Text that is escaped already."""

    __slots__ = ()


# Elements of HTML that have no end.
_VOID = frozenset({"meta", "br"})


def element(name: str, /, *content: str, **attributes: object) -> Markup:
    """An element. `class_` is class, `aria_label` is aria-label; an attribute that is None is left out."""
    written = "".join(f' {_attribute(key)}="{_value(value)}"' for key, value in attributes.items() if value is not None)
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{joined(content)}</{name}>")


def joined(parts: Iterable[str], between: str = "") -> Markup:
    """Several after each other."""
    return Markup(between.join(part if isinstance(part, Markup) else escape(part) for part in parts))


def number(value: float) -> str:
    """A coordinate: a tenth of a pixel is as fine as anybody sees."""
    return f"{value:.1f}".removesuffix(".0")


def _attribute(key: str) -> str:
    # The only attributes with capitals are SVG's own.
    return {"viewbox": "viewBox"}.get(key, key.rstrip("_").replace("_", "-"))


def _value(value: object) -> str:
    return escape(number(value) if isinstance(value, float) else str(value))
