"""What a record says, its bytes, and what is let in of bytes that anybody may have written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdgate.fleet import records
from holdgate.fleet.records import (
    Bad,
    Bye,
    Claim,
    FleetOrder,
    FleetRecord,
    Gone,
    Good,
    Here,
    Lead,
    Need,
    Rest,
    Said,
    StageTally,
    ToldToWait,
    decode,
    encode,
)

ME, OTHER = "0123456789ab", "ffffffffffff"
DEPENDENCY = "payments"
REASON = "a release of the payment service, as announced"

SAID: list[Said] = [
    Here(2, (Need(DEPENDENCY, True, 16, 12), Need("ledger", False, 8, 0))),
    Bye(),
    Gone(OTHER),
    Bad(DEPENDENCY, 3, False),
    Good(DEPENDENCY),
    Claim(DEPENDENCY, 12),
    Rest(DEPENDENCY, 12),
    Lead(DEPENDENCY, 12, "ramp", 22, 128, 1, 2**31 - 1, 12, 600, 3600),
    StageTally(DEPENDENCY, 22, 1000, 1000, 200_000),
    ToldToWait(DEPENDENCY, 3600),
    FleetOrder(DEPENDENCY, "force_open", 12, False, 3600, "release", "ada"),
]


@pytest.mark.parametrize("said", SAID, ids=lambda said: said.kind)
def test_a_record_comes_back_as_it_was(said: Said) -> None:
    """Every kind is the same after it was written and read."""
    record = FleetRecord(ME, 123_456, said)
    assert decode("orders", encode("orders", record)) == record


@pytest.mark.parametrize("said", SAID, ids=lambda said: said.kind)
def test_a_record_has_less_than_200_bytes(said: Said) -> None:
    """With names of usual length no record is longer than 200 bytes."""
    assert len(encode("orders", FleetRecord(ME, 123_456, said))) <= 200


def test_the_longest_record_is_read() -> None:
    """Whatever settings and operators may write fits into what is read."""
    long = "ä" * 64
    order = FleetOrder(long, "force_open", 2**31 - 1, True, records.LONGEST_SECONDS, "ä" * 80, "ä" * 40)
    data = encode(long, FleetRecord(ME, 2**31 - 1, order))
    assert len(data) <= records.LARGEST
    assert decode(long, data) == FleetRecord(ME, 2**31 - 1, order)


def written(**changes: Any) -> bytes:
    """A claim with other fields, or without those that are None."""
    fields = {"v": 1, "f": "orders", "w": ME, "n": 1, "k": "claim", "d": DEPENDENCY, "e": 2} | changes
    return json.dumps({key: value for key, value in fields.items() if value is not None}).encode()


def test_what_an_older_version_does_not_say_is_nothing() -> None:
    """A verdict without a server's wish, and results without a duration, are read as they were meant; a wrong one is still no record."""
    lead = {"k": "lead", "p": "wait", "s": 0, "l": 1, "t": 0, "x": 0, "m": 1, "a": 9}
    assert decode("orders", written(**lead)) == FleetRecord(ME, 1, Lead(DEPENDENCY, 2, "wait", 0, 1, 0, 0, 1, 9, told=0))
    tally = {"k": "tally", "s": 3, "g": 2, "b": 1}
    assert decode("orders", written(**tally)) == FleetRecord(ME, 1, StageTally(DEPENDENCY, 3, 2, 1, took=0))
    assert decode("orders", written(**lead, u=-1)) is None
    assert decode("orders", written(**tally, u="2")) is None


def test_fields_of_a_newer_version_are_skipped() -> None:
    """A field that we do not know does not hide those that we do."""
    assert decode("orders", written(z=[1, {"later": True}])) == FleetRecord(ME, 1, Claim(DEPENDENCY, 2))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"1" * 900,
        b"[" * 1000,
        b'{"v":' * 200,
        b'{"v":1,"f":"orders"}',
        written(v=2),
        written(v="1"),
        written(f="others"),
        written(k="claims"),
        written(k=["claim"]),
        written(k={}),
        written(w="0123456789AB"),
        written(w="0123456789ab\n"),
        written(w=12),
        written(n=-1),
        written(n=True),
        written(n=1.0),
        written(e=2**31),
        written(e=10**300),
        written(e=float("nan")),
        written(e=None),
        written(e="2"),
        written(d=""),
        written(d="x" * 129),
        written(d=7),
        written(d=DEPENDENCY, z="x" * 1024),
        written(k="lead", p="well"),
        written(k="here", b=2, d="payments"),
        written(k="here", b=2, d=[["payments", True, 1]]),
        written(k="here", b=2, d=[["payments", 1, 1, 1]]),
        written(k="here", b=2, d=[["payments", True, 1, 1]] * 33),
        written(k="order", o="explode"),
        written(k="gone", o="me"),
    ],
)
def test_what_is_none_of_ours_is_nothing(data: bytes) -> None:
    """Bytes of another fleet, another version, a wrong type, a number out of range, or no record at all are skipped."""
    assert decode("orders", data) is None


def test_a_text_cannot_move_a_cursor() -> None:
    """Of an operator's text, what is not printable is read as spaces, and the rest is cut."""
    order = FleetOrder(DEPENDENCY, "hold", 1, False, 0, "\x1b[2J\ud800" + "x" * 100, "a\nb")
    data = json.dumps(
        json.loads(encode("orders", FleetRecord(ME, 1, FleetOrder(DEPENDENCY, "hold", 1, False, 0, "", ""))))
        | {"r": order.reason, "c": order.actor}
    )
    record = decode("orders", data.encode())
    assert record is not None
    assert record.said == FleetOrder(DEPENDENCY, "hold", 1, False, 0, " [2J " + "x" * 75, "a b")


def test_a_length_is_cut_to_a_month() -> None:
    """A number of seconds that is far too large is the largest that we use."""
    record = decode("orders", written(k="here", b=2**31 - 1, d=[]))
    assert record is not None
    assert record.said == Here(records.LONGEST_SECONDS, ())


@pytest.mark.parametrize(("text", "is_name"), [("payments", True), ("", False), ("ä" * 64, True), ("ä" * 65, False), ("a\nb", False)])
def test_a_name_must_fit_into_a_record(text: str, is_name: bool) -> None:
    """A name has one line of 1 to 128 bytes."""
    assert records.is_name(text) is is_name


@given(st.binary(max_size=1100))
def test_no_bytes_raise(data: bytes) -> None:
    """Whatever stands in the log, reading it raises nothing."""
    assert decode("orders", data) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)


@given(
    st.sampled_from([said.kind for said in SAID]),
    st.dictionaries(st.sampled_from(list("dersplxtmagbocinwv")), JSON, max_size=10),
)
def test_no_values_raise(kind: str, fields: dict[str, object]) -> None:
    """Whatever values the fields have, a record of ours comes out or nothing, and what comes out can be written again."""
    data = json.dumps({"v": 1, "f": "orders", "w": ME, "n": 1, "k": kind} | fields).encode()
    record = decode("orders", data)
    if record is not None:
        assert decode("orders", encode("orders", record)) == record
