#!/usr/bin/env bash
# concurrent.futures: a call that raises an exception which is false, such as one with a `__len__` of 0, seems to have returned None.
#
# `Future.result()` asks `if self._exception:` instead of `is not None`. So the exception of a client that lists what went wrong, and whose
# list is empty, is lost: `result()` returns None, while `exception()` has it. `__bool__` that raises replaces the exception by its own.
# A good engineer would expect `result()` to raise whatever the call has raised; asyncio's own futures do, `asyncio.to_thread` too.
#
# Seen with CPython 3.11.7:
#   result: None, exception: Errors
set -euo pipefail

said=$(python3 - <<'PYTHON'
from concurrent.futures import ThreadPoolExecutor


class Errors(Exception):
    def __len__(self):
        return 0


def fail():
    raise Errors


with ThreadPoolExecutor() as pool:
    future = pool.submit(fail)
    try:
        found = future.result()
    except Errors:
        found = "raised"
    print(f"result: {found}, exception: {type(future.exception()).__name__}")
PYTHON
)
echo "$said"
test "$said" = "result: None, exception: Errors" || { echo "this has changed" >&2; exit 1; }
