"""A loop on virtual time that counts its steps, so that something can be done before any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from holdgate.testing import VirtualEventLoop


class CountingLoop(VirtualEventLoop):
    """Calls `at[n]` before the n-th step after `count` was called: everything that happens, happens in some step."""

    step: int | None = None
    at: Mapping[int, Callable[[], object]]

    def count(self, at: Mapping[int, Callable[[], object]]) -> None:
        self.step, self.at = 0, at

    def _run_once(self) -> None:
        if self.step is not None:
            self.at.get(self.step, lambda: None)()
            self.step += 1
        super()._run_once()  # type: ignore[misc]
