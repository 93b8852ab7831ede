"""What the log says of a handler's exception: its type and the user's line. Never its text, which may quote the message or a URL."""

from __future__ import annotations

import site
import sysconfig
import traceback
from pathlib import Path

import holdgate

# Where other people's code lives: the line that a reader can do something about is outside of these.
_NOT_THE_USERS = tuple(
    {*site.getsitepackages(), sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), str(Path(holdgate.__file__).parent)}
)


def whereabouts(error: BaseException) -> str:
    """`file:line` of the innermost line outside of libraries, or of the innermost at all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_USERS)]
    if not frames:
        return "an unknown place"
    frame = (own or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"


def steps(error: BaseException) -> str:
    """The way to it, line by line, without the exception's text."""
    return "".join(traceback.format_tb(error.__traceback__)).rstrip()
