"""One look at a worker after another, for `holdgate watch`: by its event stream, and by asking where no stream can be had.

The stream brings a status once a second, and costs the worker less than a question does: one frame is made for all who watch. It may be
refused though the worker answers: too many watch already, or a proxy in between passes no streams on. It may also come and stay empty,
because a proxy collects what it passes on. In all these cases the worker is asked, and after each answer the stream is tried again; a
stream that stayed empty is not tried any more, because each try costs the seconds of waiting for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING

from holdgate.cli.worker.connection import NoAnswer, NothingCame, RefusedByWorker

if TYPE_CHECKING:
    from holdgate.cli.worker.connection import WorkerConnection
    from holdgate.flow.status import StatusDocument

# As many sources as a frame of the stream has.
_QUESTION = "/status?limit=100"


def looks(worker: WorkerConnection, every: float) -> Iterator[StatusDocument | NoAnswer]:
    """Yield each look at a worker, at least `every` seconds apart, for ever. NoAnswer stands for a look at which nobody answered."""
    streams = True
    while True:
        empty = False
        if streams:
            empty = True
            try:
                for document in apart(worker.frames(), every):
                    empty = False
                    yield document
            except NothingCame:
                pass
            except (RefusedByWorker, NoAnswer):  # that took no time; whether the worker is gone is found out by asking
                empty = False
        time.sleep(every)
        try:
            document = worker.get(_QUESTION)
        except NoAnswer as error:
            yield error
        except RefusedByWorker as error:
            if error.status != HTTPStatus.SERVICE_UNAVAILABLE:  # it starts or stops
                raise
            yield NoAnswer(str(error))
        else:
            streams = streams and not empty
            yield document


def apart(documents: Iterator[StatusDocument], every: float) -> Iterator[StatusDocument]:
    """Yield those of these documents that come at least about `every` seconds after the one before."""
    due = 0.0
    for document in documents:
        now = time.monotonic()
        if now >= due:
            due = now + every - 0.1  # what comes once a second comes a moment earlier now and then
            yield document
