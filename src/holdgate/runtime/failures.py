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
    # Not `extract_tb`, which reads the lines of source, too: this runs before a circuit is told of the failure.
    places = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [place for place in places if not place[0].startswith(_NOT_THE_USERS)]
    if not places:
        return "an unknown place"
    file, line = (own or places)[-1]
    return f"{file}:{line}"


def steps(error: BaseException) -> str:
    """The way to it, line by line, without the exception's text."""
    return "".join(traceback.format_tb(error.__traceback__)).rstrip()
