"""The page: which static files are served, and under which path.

A browser that opens a worker's address gets `index.html`, which names the others by relative addresses. So it works under any prefix that
the app is mounted at, if the address ends with a slash. Nothing of it is kept by a browser (`no-store`, as for all answers): after an
update of the worker nobody may look at its status through the page of the version before.

They are read once, from a list of names that is written here: no path of a request reaches a file system. They have nothing of a worker in
them, so they are given out without a token; what the page shows, it asks for with one.

The page is plain JavaScript modules without a build step and without a library of others. It has eight tables' worth of cells to keep up
to date, which is 60 lines (page/elements.js), and a plot of two lines. A library for each would be more code in the wheel than all of the
page, with licences and versions to follow, and a text could come to the document in two ways instead of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

_SCRIPT = "text/javascript; charset=utf-8"

# What a browser is given under `/page/`, by name. Its type is said and never guessed: `nosniff` holds the browser to it.
FILES: Mapping[str, str] = {
    "agreement.js": _SCRIPT,
    "elements.js": _SCRIPT,
    "fleet.js": _SCRIPT,
    "icon.svg": "image/svg+xml",
    "main.js": _SCRIPT,
    "orders.js": _SCRIPT,
    "page.css": "text/css; charset=utf-8",
    "stream.js": _SCRIPT,
    "timeline.js": _SCRIPT,
    "words.js": _SCRIPT,
}
_START = "index.html"


class Site:
    """The page's files, in memory."""

    def __init__(self) -> None:
        folder = resources.files("holdgate.control").joinpath("page")
        self._start = folder.joinpath(_START).read_bytes()
        self._files = {name: folder.joinpath(name).read_bytes() for name in FILES}

    def routes(self) -> list[BaseRoute]:
        """Return the paths of the page."""
        return [Route("/", self.start, methods=["GET"]), *(Route(f"/page/{name}", self.file, methods=["GET"]) for name in FILES)]

    async def start(self, request: Request) -> Response:  # noqa: ARG002 - starlette's signature
        """The document that a browser begins with."""
        return Response(self._start, media_type="text/html")

    async def file(self, request: Request) -> Response:
        """One of the files that it names."""
        name = request.url.path.rpartition("/")[2]
        return Response(self._files[name], headers={"content-type": FILES[name]})
