"""The form of a document from elsewhere: what of it has the form of one of ours, and nothing else.

A worker passes on what its peers answer, and a page takes it for a status. A peer may be of another version, or somebody else may listen
where it was. One field of the wrong kind would stop the page in the middle of drawing, and one number that JSON does not have (`NaN`) would
make the answers of all peers unreadable. So what is passed on is made anew, field by field, by the annotations of the document itself.
"""

from __future__ import annotations

from functools import cache
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

# What a reader in JavaScript tells apart. It keeps out the numbers that JSON has no word for, too.
_NUMBER_AT_MOST = 2**53


class WrongShape(Exception):
    """A value has another form than it must have."""


def fitting(value: object, kind: Any) -> Any:
    """Return `value` with the fields of `kind` alone. Raises WrongShape.

    `kind` is a TypedDict, a list, one of these or None, or `bool`, `int`, `float` or `str`. A field that is missing is None where it may be
    None, because the other one may be older.
    """
    if is_typeddict(kind):
        given = cast("dict[str, object]", _of(dict, value))
        return {name: fitting(given.get(name), of) for name, of in _fields(kind).items()}
    if get_origin(kind) is list:
        return [fitting(each, *get_args(kind)) for each in cast("list[object]", _of(list, value))]
    if get_origin(kind) in (Union, UnionType):
        (known,) = (each for each in get_args(kind) if each is not type(None))
        return None if value is None else fitting(value, known)
    if kind is float or kind is int:
        number = cast("float", _of(int, value) if kind is int or isinstance(value, int) else _of(float, value))
        if not -_NUMBER_AT_MOST <= number <= _NUMBER_AT_MOST:
            raise WrongShape
        return number
    return _of(kind, value)


@cache
def _fields(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _of(kind: type, value: object) -> object:
    if type(value) is not kind:  # JSON makes these alone, and a bool is no number
        raise WrongShape
    return value
