from __future__ import annotations

from pathlib import Path

import pytest
from tests.lab.simulate.examples import file_of

from holdgate.config.toml_file import Place, Problems, dotted, read_toml
from holdgate.errors import SettingsError

TEXT = """\
# a comment
seconds = 60

[topics.orders]
needs = [
    "payments",
    "email",
]
rate = 3
description = '''
rate = 5
'''

[[faults]]
at = 1

[[faults]]
at = 2
kind = "hang"
"""


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("seconds",), 2),
        (("topics",), 4),
        (("topics", "orders"), 4),
        (("topics", "orders", "needs"), 5),
        (("topics", "orders", "rate"), 9),
        (("topics", "orders", "description"), 10),
        (("faults", 0), 14),
        (("faults", 0, "at"), 15),
        (("faults", 1, "at"), 18),
        (("faults", 1, "kind"), 19),
    ],
)
def test_a_place_has_the_line_in_which_it_begins(place: Place, line: int) -> None:
    """Also behind values of several lines, and with what looks like a setting inside of a text."""
    assert file_of(TEXT).line(place) == line


@pytest.mark.parametrize(
    ("place", "line"),
    [(("faults", 1, "until"), 17), (("topics", "orders", "partitions"), 4), (("workers",), 1), ((), 1), (("seconds", "x"), 2)],
)
def test_what_is_not_there_has_the_line_of_what_it_would_be_in(place: Place, line: int) -> None:
    """A missing key is looked for where its table begins; one that misses at the top, in the first line."""
    assert file_of(TEXT).line(place) == line


def test_windows_line_ends_count_once() -> None:
    """A file from elsewhere has the same lines."""
    assert file_of(TEXT.replace("\n", "\r\n")).line(("topics", "orders", "rate")) == 9


def test_problems_come_together_and_in_the_order_of_the_file() -> None:
    """One look mends all of them."""
    problems = Problems(file_of(TEXT))
    problems.add(("faults", 1, "kind"), "is wrong")
    problems.add(("seconds",), "is wrong, too")
    with pytest.raises(SettingsError) as caught:
        problems.check()
    assert str(caught.value) == "some.toml:2: seconds: is wrong, too\nsome.toml:19: faults[1].kind: is wrong"


def test_no_problem_is_no_error() -> None:
    """Checking a file that is right does nothing."""
    Problems(file_of(TEXT)).check()


def test_a_place_is_written_as_toml_writes_it() -> None:
    """With brackets for the tables of a list, and quotes where a name needs them."""
    assert dotted(("topics", "orders.eu", "poison", 3)) == 'topics."orders.eu".poison[3]'


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With what the system says."""
    with pytest.raises(SettingsError, match=r"nowhere\.toml: cannot be read: No such file"):
        read_toml(tmp_path / "nowhere.toml")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    """TOML is UTF-8."""
    path = tmp_path / "some.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"some\.toml: cannot be read: it is not UTF-8"):
        read_toml(path)


def test_what_is_no_toml_is_told_with_its_line() -> None:
    """The parser's own words have line and column."""
    with pytest.raises(SettingsError, match=r"some\.toml: is not TOML: .*line 2, column"):
        file_of("seconds = 3\nworkers = two\n")


def test_a_mark_at_the_beginning_of_a_file_is_not_read(tmp_path: Path) -> None:
    """Editors of Windows write it, and nobody sees it: the file was no TOML "at line 1, column 1"."""
    file = tmp_path / "holdgate.toml"
    file.write_bytes(b"\xef\xbb\xbf[guard]\r\ndrain_timeout = 5\r\n")
    read = read_toml(file)
    assert read.data == {"guard": {"drain_timeout": 5}}
    assert read.line(("guard", "drain_timeout")) == 2
