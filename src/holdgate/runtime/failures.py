"""What the log says of a handler's exception: its type and the user's line. Never its text, which may quote the message or a URL."""

from __future__ import annotations

import site
import sysconfig
import traceback
from pathlib import Path

import holdgate
from holdgate.core.causes import leaves

# Where other people's code lives: the line that a reader can do something about is outside of these.
_NOT_THE_USERS = tuple(
    {*site.getsitepackages(), sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), str(Path(holdgate.__file__).parent)}
)


def whereabouts(error: BaseException) -> str:
    """`file:line` of the innermost line outside of libraries, or of the innermost at all; of a group, that of its first member."""
    error = _telling(error)
    # Not `extract_tb`, which reads the lines of source, too: this runs before a circuit is told of the failure.
    places = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [place for place in places if not place[0].startswith(_NOT_THE_USERS)]
    if not places:
        return "an unknown place"
    file, line = (own or places)[-1]
    return f"{file}:{line}"


def steps(error: BaseException) -> str:
    """The way to it, or to the first member of a group, line by line, without the exception's text."""
    return "".join(traceback.format_tb(_telling(error).__traceback__)).rstrip()


def _telling(error: BaseException) -> BaseException:
    """The exception whose way is told: of a group its first member, whose way does not begin at the group, if it was raised at all."""
    leaf = leaves(error)[0]
    return error if leaf.__traceback__ is None else leaf
