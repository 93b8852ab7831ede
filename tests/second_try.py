"""Which tests may be tried a second time in CI: those that say why, `@pytest.mark.second_try(reason="...")`, and no other.

What fails now and then tells of a race, in the test or in what it tests. A reason is something outside of both that nobody here can mend.
"""

from __future__ import annotations

import pytest

from tests.servers.unavailable import in_ci


def allow_second_try(item: pytest.Item) -> None:
    """Give the test its second try, if it is marked and this is CI; pytest then tells of it (R). Raises UsageError without a reason."""
    if item.get_closest_marker("flaky") is not None:
        raise pytest.UsageError(f'{item.nodeid}: flaky gives no reason, write @pytest.mark.second_try(reason="...")')
    mark = item.get_closest_marker("second_try")
    if mark is None:
        return
    reason = mark.kwargs.get("reason")
    if mark.args or not isinstance(reason, str) or not reason.strip():
        raise pytest.UsageError(f'{item.nodeid}: must say why, as second_try(reason="..."), got {mark.args or mark.kwargs}')
    if in_ci():
        item.add_marker(pytest.mark.flaky(reruns=1))
