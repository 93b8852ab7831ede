from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.ledger.ledger import Entry, Ledger, Mark, after, mark


def test_processes_make_one_story_by_time(tmp_path) -> None:
    """What two writers wrote in turn is read back in that order, with who wrote it."""
    ledger = Ledger(tmp_path)
    one, two = ledger.writer("one"), ledger.writer("two")
    one.write("note", text="first")
    two.write("note", text="second")
    one.write("note", text="third")
    assert [(entry.who, entry.facts["text"]) for entry in ledger.entries()] == [("one", "first"), ("two", "second"), ("one", "third")]
    one.close()
    two.close()


def test_a_second_look_adds_what_is_new(tmp_path) -> None:
    """Reading goes on where it ended, and forgets nothing."""
    ledger = Ledger(tmp_path)
    writer = ledger.writer("one")
    writer.write("note", number=1)
    assert len(ledger.entries()) == 1
    writer.write("note", number=2)
    assert [entry.facts["number"] for entry in ledger.entries()] == [1, 2]
    writer.close()


def test_what_was_read_is_counted_by_kind(tmp_path) -> None:
    """Each entry once, at whichever look it was read."""
    ledger = Ledger(tmp_path)
    writer = ledger.writer("one")
    writer.write("note", number=1)
    ledger.entries()
    writer.write("note", number=2)
    writer.write("paced")
    assert ledger.counts == {"note": 1}
    ledger.entries()
    ledger.entries()
    assert ledger.counts == {"note": 2, "paced": 1}
    writer.close()


def test_what_is_read_late_comes_in_its_place(tmp_path) -> None:
    """A line that was written earlier than others, and read after them, stands before them; of the same time, it stands behind."""
    ledger = Ledger(tmp_path)
    line = '{{"at": {}, "who": "{}", "kind": "note"}}\n'
    (tmp_path / "one.jsonl").write_text("".join(line.format(at, "one") for at in (1.0, 2.0, 3.0, 4.0)))
    assert len(ledger.entries()) == 4
    (tmp_path / "two.jsonl").write_text("".join(line.format(at, "two") for at in (5.0, 2.5, 3.0)))
    expected = [(1.0, "one"), (2.0, "one"), (2.5, "two"), (3.0, "one"), (3.0, "two"), (4.0, "one"), (5.0, "two")]
    assert [(entry.at, entry.who) for entry in ledger.entries()] == expected


def test_what_a_mark_divides(tmp_path) -> None:
    """Of what two processes wrote, that from after the mark, in order; what was written before it is left out, however late it is read."""
    ledger = Ledger(tmp_path)
    one, two = ledger.writer("one"), ledger.writer("two")
    two.write("note", text="before")
    since = mark()
    one.write("note", text="first")
    two.write("note", text="second")
    assert [entry.facts["text"] for entry in after(ledger.entries(), since)] == ["first", "second"]
    assert after(ledger.entries(), mark()) == []
    one.close()
    two.close()


def test_what_was_written_at_the_mark_itself_is_before_it() -> None:
    """A clock has steps: the last line before a mark may bear its very time."""
    entries = [Entry(at, "w", "note", {}) for at in (1.0, 2.0, 2.0, 3.0)]
    assert [entry.at for entry in after(entries, Mark(2.0))] == [3.0]


def test_a_line_cut_short_waits_for_its_rest(tmp_path) -> None:
    """Half a line is no entry; when the rest comes, it is one."""
    ledger = Ledger(tmp_path)
    path = tmp_path / "cut.jsonl"
    path.write_text('{"at": 1.0, "who": "w", "kind": "note"}\n{"at": 2.0, "who"')
    assert len(ledger.entries()) == 1
    with path.open("a") as file:
        file.write(': "w", "kind": "note"}\n')
    assert [entry.at for entry in ledger.entries()] == [1.0, 2.0]


def test_an_unknown_kind_is_refused(tmp_path) -> None:
    """A misspelt kind would be a fact that no invariant sees."""
    writer = Ledger(tmp_path).writer("w")
    with pytest.raises(ValueError, match="procesed"):
        writer.write("procesed", topic="t", partition=0, offset=1)
    writer.close()


def test_a_missing_fact_is_refused(tmp_path) -> None:
    """So would be an entry without its place."""
    writer = Ledger(tmp_path).writer("w")
    with pytest.raises(ValueError, match="offset"):
        writer.write("processed", topic="t", partition=0)
    writer.close()


def test_kill_9_loses_nothing_that_was_written(tmp_path) -> None:
    """A process that kills itself right after a line has that line in the ledger."""
    code = (
        "import os, pathlib, signal, sys\n"
        "from tests.ledger.ledger import LedgerWriter\n"
        "LedgerWriter(pathlib.Path(sys.argv[1]), 'dying').write('note', last=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [entry.facts for entry in Ledger(tmp_path).entries()] == [{"last": True}]
