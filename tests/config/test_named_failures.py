from __future__ import annotations

import pkgutil

import pytest

from holdgate import http, presets
from holdgate.config.named_failures import NAMES, named_failures


def test_there_is_a_name_for_each_module() -> None:
    """A new preset is in the list, too."""
    assert set(NAMES) == {"http", *(module.name for module in pkgutil.iter_modules(presets.__path__))}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_stands_for_its_module(name: str) -> None:
    """With the wait that servers ask for, where its module reads one."""
    module = http if name == "http" else __import__(f"holdgate.presets.{name}", fromlist=[name])
    found = named_failures(name)  # type: ignore[arg-type]
    assert (found.failures, found.retry_after) == (module.failures, getattr(module, "retry_after", None))
