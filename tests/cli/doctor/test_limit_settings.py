"""`holdgate doctor limits`: two settings that are right, and do not go together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.cli.runner import invoke

if TYPE_CHECKING:
    from pathlib import Path


def found(folder: Path, text: str, *arguments: str) -> list[str]:
    """What is said of a settings file with this text."""
    file = folder / "holdgate.toml"
    file.write_text(text, encoding="utf-8")
    shown = invoke("doctor", "limits", str(file), "--json", *arguments)
    assert (shown.exit_code, shown.stderr) == (0, "")
    documents = json.loads(shown.stdout)
    assert not any(each["refused"] or each["cost"] for each in documents)
    assert {each["about"] for each in documents} <= {"ledger"}
    return [each["text"] for each in documents]


def written(limits: str, run: str = "", more: str = "") -> str:
    """A settings file in which one run needs the ledger."""
    return f'[dependencies.ledger]\nlimits = {{ {limits} }}\n[runs.orders]\nneeds = ["ledger"]\n{run}\n{more}\n'


CLASHES = {
    "a limit above the lanes": (
        written("concurrency = 64", 'order = "none"'),
        (),
        'limits.concurrency=64 and concurrency=16 (left out, with order="none") of runs.orders: no more than 16 messages',
    ),
    "a limit above the concurrency of the run": (
        written("concurrency = 64", "concurrency = 8"),
        (),
        "limits.concurrency=64 and concurrency=8 of runs.orders: no more than 8 messages",
    ),
    "a limit above the partitions": (
        written("concurrency = 9"),
        ("--partitions", "8"),
        'limits.concurrency=9 and 8 partitions with order="source" of runs.orders: no more than 8 messages',
    ),
    "a limit above the prefetch": (
        written("concurrency = 16", "concurrency = 32"),
        ("--prefetch", "10"),
        "limits.concurrency=16 and prefetch=10: no more than 10 messages",
    ),
    "a rate that the partitions do not reach": (
        written("rate = 100"),
        ("--partitions", "4", "--handler", "0.2"),
        'limits.rate=100 per=1 and 4 partitions with order="source" of runs.orders: at 0.2 s a message these are at most 4 / 0.2 s = 20 a ',
    ),
    "a rate that a prefetch does not reach": (
        written("rate = 100"),
        ("--prefetch", "10", "--handler", "0.2"),
        "limits.rate=100 per=1 and prefetch=10: at 0.2 s a message these are at most 10 / 0.2 s = 50 a second",
    ),
    "a rate that its own bulkhead does not reach": (
        written("rate = 100, concurrency = 4"),
        ("--partitions", "8", "--handler", "0.1"),
        "limits.rate=100 per=1 and limits.concurrency=4: at 0.1 s a message these are at most 4 / 0.1 s = 40 a second",
    ),
    "a rate that no network reaches": (
        written("rate = 6000"),
        ("--partitions", "4"),
        "the rate is reached only if a message takes less than 4 / 6,000 = 0.00067 s",
    ),
    "a bulkhead for each worker": (
        written("concurrency = 8"),
        ("--workers", "10"),
        "limits.concurrency=8 and 10 workers: 80 calls may be in flight together",
    ),
    "a rate for each worker": (
        written('rate = 600, per = "1m"'),
        ("--workers", "10"),
        "limits.rate=600 per=60 and 10 workers: 6,000 calls may start in 1 minute",
    ),
    "more in hand than the rate lets through": (
        written('rate = 60, per = "1m"'),
        ("--prefetch", "500"),
        "prefetch=500 and limits.rate=60 per=60: the last message in hand waits 500 / 1 = 8.33 minutes",
    ),
    "more in hand than RabbitMQ leaves there": (
        written('rate = 1, per = "1m"'),
        ("--prefetch", "50"),
        "= 50 minutes for its turn, where no other worker can take it, which is longer than RabbitMQ's consumer timeout of 30 minutes",
    ),
    "an order in which nothing passes": (
        written("concurrency = 2", 'order = "source"', "[dependencies.mail]").replace('["ledger"]', '["ledger", "mail"]'),
        (),
        'limits and order="source" of runs.orders, which needs mail, too: a message that waits for ledger holds up all behind it',
    ),
    "a batch above the bulkhead": (
        written("concurrency = 8", "batch = 100"),
        (),
        "limits.concurrency=8 and batch=100 of runs.orders: a batch counts as its messages, so it is cut to 8",
    ),
    "a batch above the rate": (
        written("rate = 10", "batch = 100"),
        (),
        "limits.rate=10 and batch=100 of runs.orders: a batch counts as its messages, so it is cut to 10",
    ),
    "a time limit below the interval": (
        written('rate = 1, per = "1m"', 'timeout = "10s"'),
        (),
        "timeout=10 of runs.orders and limits.rate=1 per=60: a second call in the same handler waits up to 60 s",
    ),
    "a memory that a limit does not fit into": (
        written("concurrency = 16", "concurrency = 32", '[guard]\nmemory = "64MiB"'),
        ("--body", "10000000"),
        "guard.memory=67108864 and concurrency=32 of runs.orders: 67,108,864 / 10,000,000 = 6 messages fit into it, and 16 may be at work",
    ),
    "a prefetch that the memory does not hold": (
        written("concurrency = 2"),
        ("--prefetch", "50", "--body", "10000000"),
        "guard.memory=67108864 and prefetch=50: 50 x 10,000,000 bytes = 500,000,000 in hand",
    ),
    "a limit that no run needs": (
        written("concurrency = 2", more="[dependencies.mail]").replace('["ledger"]', '["mail"]'),
        (),
        'limits, and no "ledger" in needs of runs.orders',
    ),
}


@pytest.mark.parametrize(("text", "arguments", "words"), CLASHES.values(), ids=CLASHES.keys())
def test_what_does_not_go_together(tmp_path: Path, text: str, arguments: tuple[str, ...], words: str) -> None:
    """One finding, which has both values."""
    texts = found(tmp_path, text, *arguments)
    assert [words in each for each in texts] == [True], texts


WELL = {
    "as many as lanes": (written("concurrency = 16", 'order = "none"'), ()),
    "as many as partitions": (written("concurrency = 8"), ("--partitions", "16", "--workers", "1")),
    "a rate that is reached exactly": (written("rate = 20"), ("--partitions", "4", "--handler", "0.2")),
    "a rate in the reach of a network": (written("rate = 800"), ("--partitions", "4")),
    "in hand for five minutes": (written('rate = 60, per = "1m"'), ("--prefetch", "300")),
    "a batch of just as many": (written("concurrency = 8, rate = 8", "batch = 8"), ()),
    "a time limit of an interval": (written('rate = 1, per = "1m"', 'timeout = "60s"'), ()),
    "a memory for just as many": (written("concurrency = 6", "concurrency = 6"), ("--body", "10000000")),
    "no memory limit": (written("concurrency = 16", "concurrency = 16", '[guard]\nmemory = "none"'), ("--body", "10000000")),
    "nothing known of the place": (written("rate = 100000, concurrency = 5000"), ()),
    "needs that only the program knows": ("[dependencies.ledger]\nlimits = { concurrency = 2 }\n[runs.orders]\nconcurrency = 4\n", ()),
    "no limits": ('[dependencies.ledger]\n[runs.orders]\nneeds = ["ledger"]\n', ("--partitions", "4", "--handler", "1")),
}


@pytest.mark.parametrize(("text", "arguments"), WELL.values(), ids=WELL.keys())
def test_what_goes_together(tmp_path: Path, text: str, arguments: tuple[str, ...]) -> None:
    """Just at the bound, and where nothing is known, nothing is said."""
    assert found(tmp_path, text, *arguments) == []


def test_two_runs_have_their_lanes_together(tmp_path: Path) -> None:
    """What one of them has not, the other may have."""
    runs = written("concurrency = 13", "concurrency = 8", '[runs.refunds]\nneeds = ["ledger"]\nconcurrency = {}')
    assert found(tmp_path, runs.replace("{}", "5")) == []
    assert "concurrency=8 of runs.orders and concurrency=4 of runs.refunds: no more than 12" in found(tmp_path, runs.replace("{}", "4"))[0]


def test_each_worker_has_its_part_of_the_partitions(tmp_path: Path) -> None:
    """Of ten partitions, the larger part of three workers is four."""
    texts = found(tmp_path, written("concurrency = 5"), "--partitions", "10", "--workers", "3")
    assert ['and 4 partitions with order="source"' in each for each in texts] == [True, False]


def test_a_batch_counts_as_its_messages(tmp_path: Path) -> None:
    """Two batches of ten at a time are twenty in flight."""
    batches = 'concurrency = 2\nbatch = 10\norder = "source"'
    assert found(tmp_path, written("concurrency = 20", batches)) == []
    assert "concurrency=2 x batch=10 of runs.orders: no more than 20 " in found(tmp_path, written("concurrency = 21", batches))[0]


def test_the_table_of_all_runs_counts_where_there_is_no_other(tmp_path: Path) -> None:
    """`[run]` alone is a run, too."""
    text = '[dependencies.ledger]\nlimits = { concurrency = 9 }\n[run]\nneeds = ["ledger"]\nconcurrency = 8\n'
    assert "limits.concurrency=9 and concurrency=8 of run: no more than 8 " in found(tmp_path, text)[0]


def test_in_words(tmp_path: Path) -> None:
    """As warnings, and a sentence where there is nothing; the environment counts."""
    file = tmp_path / "holdgate.toml"
    file.write_text(written("concurrency = 9", "concurrency = 8"), encoding="utf-8")
    shown = invoke("doctor", "limits", str(file))
    assert (shown.exit_code, shown.stdout.startswith("ledger, warning: limits.concurrency=9 and")) == (0, True)
    file.write_text(written("concurrency = 8", "concurrency = 8"), encoding="utf-8")
    assert invoke("doctor", "limits", str(file)).stdout == "nothing was found that does not go together\n"


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        (written("concurrency = 0"), (), "limits.concurrency"),
        (written("concurrency = 2"), ("--partitions", "4", "--prefetch", "50"), "give one of them"),
        (written("concurrency = 2"), ("--handler", "nan"), "--handler"),
        (written("concurrency = 2"), ("--handler", "0"), "--handler"),
        (written("concurrency = 2"), ("--workers", "0"), "--workers"),
        (written("concurrency = 2"), ("--body", "-1"), "--body"),
    ],
)
def test_wrong_arguments_exit_with_two(tmp_path: Path, text: str, arguments: tuple[str, ...], words: str) -> None:
    """A file that is not right is named with its line."""
    file = tmp_path / "holdgate.toml"
    file.write_text(text, encoding="utf-8")
    refused = invoke("doctor", "limits", str(file), *arguments)
    assert (refused.exit_code, words in refused.stderr) == (2, True)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is said, with exit code 2."""
    refused = invoke("doctor", "limits", str(tmp_path / "nowhere.toml"))
    assert (refused.exit_code, "nowhere.toml" in refused.stderr) == (2, True)
