"""Which tests run which lines, and for how long: a mutant is shown to the tests of its line only, those of its own module first."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from coverage import Coverage
from tests.mutation.mutants import Mutant

# A test that takes longer, in seconds, is for the mutants of the module that it mirrors: the quick ones see the rest of the world, too.
SLOW = 0.1

# So long, in seconds, a mutant is shown to the tests of its own module, those that noticed most first, and then the quickest: a limiter has
# worlds of a second each, and fifteen seconds for each mutant that none of them notices would be hours. Then to those of other modules.
OWN = 2.0
OTHERS = 1.0


class Evidence:
    """What one run of the tests on the unchanged code has shown. `seconds`: processor time by test. `kills`: mutants by test, so far."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._coverage = Coverage(data_file=None, config_file=False, include=[f"{source}/*"])
        self._items: dict[str, pytest.Item] = {}
        self.seconds: dict[str, float] = {}
        self.kills: Counter[str] = Counter()
        self._tests: dict[str, dict[int, set[str]]] = defaultdict(dict)

    def collect(self, items: list[pytest.Item]) -> None:
        """Run every test once."""
        self._coverage.start()
        for item, after in zip(items, [*items[1:], None], strict=True):
            self._coverage.switch_context(item.nodeid)
            start = time.process_time()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            self.seconds[item.nodeid] = time.process_time() - start
            self._items[item.nodeid] = item
        self._coverage.stop()
        data = self._coverage.get_data()
        for file in data.measured_files():
            for line, tests in data.contexts_by_lineno(file).items():
                self._tests[str(Path(file).relative_to(self._source))][line] = set(tests) - {""}

    def tests_for(self, mutant: Mutant) -> list[pytest.Item]:
        """The tests that run the mutant's line; where only an import does, its own, and those that run anything of its file."""
        lines = self._tests[mutant.file]
        own = f"tests/{mutant.file.replace('/', '/test_').removesuffix('.py')}"
        names = set[str]().union(*(lines.get(line, ()) for line in range(mutant.first, mutant.last + 1)))
        if not names:
            names = {name for name in self._items if name.startswith(own)}.union(*lines.values())
        wanted = [name for name in names if name.startswith(own) or self.seconds[name] <= SLOW]
        wanted.sort(key=lambda name: (not name.startswith(own), -self.kills[name], self.seconds[name], name))
        return [
            self._items[name]
            for is_own, most in ((True, OWN), (False, OTHERS))
            for name in self._within(most, (name for name in wanted if name.startswith(own) is is_own))
        ]

    def _within(self, most: float, names: Iterable[str]) -> Iterator[str]:
        """The first of these tests, as many as fit into so many seconds, and one at least."""
        spent = 0.0
        for name in names:
            yield name
            spent += self.seconds[name]
            if spent > most:
                return
