"""The site of the documentation, which the tests that need it share."""

from __future__ import annotations

from pathlib import Path

import pytest
from docs.site.build import build


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a site without an address, as `make docs` builds it."""
    pytest.importorskip("zensical", reason="zensical is not in this environment; make setup brings it")
    return build(tmp_path_factory.mktemp("docs"))
