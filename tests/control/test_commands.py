from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.control.served import TOKEN, Stage, ask, command, connections, exchange, parsed, request, served, until

from holdgate import Override, Partition, State
from holdgate.control.commands import BODY_AT_MOST, COMMANDS
from holdgate.flow.events import Command, FleetCommand
from holdgate.testing import MemoryFleetLog, MemoryLogServer

WHO = {"reason": "the schema changes", "actor": "alice"}
ORDER = Partition("orders", 0)


def test_there_is_every_command_of_the_guard() -> None:
    """Under its own name, with dashes; those for a fleet, too."""
    assert {name.replace("-", "_") for name in COMMANDS} == {*Command.__args__, *FleetCommand.__args__}  # type: ignore[attr-defined]


async def given(stage: Stage, name: str, **fields: Any) -> Any:
    """Give a command that must be carried out, and return its entry of the audit log."""
    answer = await command(stage.control, name, **WHO, **fields)
    assert answer.status == 200, answer.body
    assert answer.json["done"]
    entry = answer.json["command"]
    assert (entry["command"], entry["actor"], entry["reason"]) == (name.replace("-", "_"), "alice", "the schema changes")
    assert (await ask(stage.control, "/audit")).json[-1] == entry
    return entry


async def test_a_topic_is_held_for_half_an_hour_and_released() -> None:
    """The default of the guard; the answer says until when."""
    async with served() as stage:
        entry = await given(stage, "hold", target="orders")
        assert round(entry["until"] - entry["at"]) == 1800
        await until(lambda: stage.guard.snapshot().sources[ORDER].held)
        assert (await given(stage, "unhold", target="orders"))["until"] is None
        await until(lambda: not stage.guard.snapshot().sources[ORDER].held)


async def test_one_partition_is_held_by_the_name_that_the_status_has() -> None:
    """The other goes on."""
    async with served() as stage:
        await given(stage, "hold", target="orders[0]", **{"for": None})
        await until(lambda: stage.guard.snapshot().sources[ORDER].held)
        assert not stage.guard.snapshot().sources[Partition("orders", 1)].held
        assert stage.guard.snapshot().commands[0].until is None
        await given(stage, "unhold", target="orders[0]")


async def test_overrides_are_set_and_cleared() -> None:
    """Each by its own command, with its own expiry."""
    async with served() as stage:
        circuit = stage.guard.circuit("payments")
        for name, override in (("force-open", Override.FORCED_OPEN), ("disable", Override.DISABLED), ("observe", Override.METRICS_ONLY)):
            entry = await given(stage, name, target="payments", **{"for": 60})
            assert round(entry["until"] - entry["at"]) == 60
            assert circuit.override is override
        await given(stage, "clear-override", target="payments")
        assert circuit.override is None


async def test_a_probe_is_made_and_a_reset_closes() -> None:
    """A probe of what is not open is answered as nothing to do, and noted nowhere."""
    async with served() as stage:
        answer = await command(stage.control, "probe", target="payments", **WHO)
        assert (answer.status, answer.json) == (200, {"done": False, "text": "payments is not open: there is nothing to try"})
        await stage.outage()
        await given(stage, "probe", target="payments")
        stage.down = False
        await given(stage, "reset", target="payments")
        assert stage.guard.circuit("payments").state is State.CLOSED
        await until(lambda: len(stage.handled) == 10)


async def test_a_fleet_is_held_released_forced_open_and_reset() -> None:
    """The log has the order when the answer comes, and every worker that reads it carries it out: here one that was not asked."""
    server = MemoryLogServer()
    async with served(fleet=MemoryFleetLog(server)) as told, served(fleet=MemoryFleetLog(server)) as other:
        await until(lambda: len(members(told)) == len(members(other)) == 2)
        entry = await given(told, "fleet-hold", target="payments", **{"for": 60})
        assert round(entry["until"] - entry["at"]) == 60
        circuit = other.guard.circuit("payments")
        await until(lambda: circuit.state is State.OPEN)
        agreed = (await ask(other.control, "/status")).json["dependencies"][0]["fleet"]
        assert (agreed["word"], agreed["word_actor"], agreed["word_reason"]) == ("hold", "alice", "the schema changes")
        await given(told, "fleet-release", target="payments")
        await given(told, "fleet-force-open", target="payments")
        await given(told, "fleet-reset", target="payments")
        await until(lambda: circuit.state is State.CLOSED)
        assert other.guard.audit() == ()


async def test_an_order_for_a_fleet_that_nobody_would_hear_is_refused() -> None:
    """A worker alone, and a dependency that nobody has: with the words of the guard, and nothing is noted."""
    async with served() as stage:
        answer = await command(stage.control, "fleet-hold", target="payments", **WHO)
        assert answer.status == 409
        assert "this guard is in no fleet" in answer.json["error"]
        answer = await command(stage.control, "fleet-reset", target="paymints", **WHO)
        assert answer.status == 409
        assert "no dependency is named 'paymints'" in answer.json["error"]
        assert stage.guard.audit() == ()


def members(stage: Stage) -> tuple[Any, ...]:
    """The fleet's members as a worker knows them."""
    seen = stage.guard.snapshot().fleet
    return () if seen is None else seen.members


async def test_a_message_that_blocks_its_source_is_named_retried_and_skipped() -> None:
    """From the status to the command, with what the status says."""
    async with served() as stage:

        async def blocked() -> Any:
            stage.broker.produce("orders", b"bad")
            await until(lambda: any("blocked" in seen.reasons for seen in stage.guard.snapshot().sources.values()))
            worst = (await ask(stage.control, "/status")).json["sources"][0]
            assert worst["blocked"]["error"] == "Reject"
            return worst

        stage.rejects = True
        worst = await blocked()
        stage.rejects = False
        answer = await command(stage.control, "retry", target=worst["source"], **WHO)
        assert (answer.status, answer.json["messages"]) == (200, 1)
        await until(lambda: stage.handled == [b"bad"])
        stage.rejects = True
        worst = await blocked()
        entry = await given(stage, "skip", target=worst["source"], position=worst["blocked"]["position"])
        assert (entry["target"], entry["position"]) == (worst["source"], worst["blocked"]["position"])
        await until(lambda: not any(seen.held for seen in stage.guard.snapshot().sources.values()))
        assert stage.handled == [b"bad"]


async def test_what_cannot_be_carried_out_is_answered_with_the_guards_own_words() -> None:
    """Unknown topics, dependencies and sources: the answer names those that there are. Nothing is noted."""
    async with served() as stage:
        for name, fields, words in (
            ("hold", {"target": "nope"}, "no topic or queue named 'nope' is read here; these are: orders"),
            ("force-open", {"target": "paymints"}, "no dependency is named 'paymints'; there are email, payments"),
            ("retry", {"target": "orders[9]"}, "no source 'orders[9]' is assigned here; these are: orders[0], orders[1]"),
            ("skip", {"target": "orders[0]", "position": 3}, "no message at orders[0]@3 was rejected, or has failed and waits"),
            ("hold", {"target": "orders", "reason": "two\nlines"}, "must be one line"),
            ("hold", {"target": "orders", "actor": "x" * 501}, "must be one line"),
        ):
            answer = await command(stage.control, name, **{**WHO, **fields})
            assert answer.status == 409
            assert words in answer.json["error"]
        assert stage.guard.audit() == ()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"reason": None}, "reason must be text that is not empty"),
        ({"reason": "  "}, "reason must be text"),
        ({"actor": 7}, "actor must be text"),
        ({"target": ["orders"]}, "target must be text"),
        ({"for": 0}, "for must be a number of seconds above 0, or null for no end"),
        ({"for": -60}, "for must be a number of seconds above 0"),
        ({"for": "5 minutes"}, "for must be a number"),
        ({"for": True}, "for must be a number"),
        ({"for": 10**400}, "for must be a number"),
        ({"until": 1}, "hold takes actor, for, reason, target, got 'until' too"),
        ({"x" * 500: 1}, "got 'xxx"),
    ],
)
async def test_a_field_that_says_nothing_sensible_is_refused(fields: dict[str, Any], words: str) -> None:
    """An expiry in the past, a duration in words, a field that is misspelt: with what it must be."""
    async with served() as stage:
        answer = await command(stage.control, "hold", **{"target": "orders", **WHO, **fields})
        assert answer.status == 422
        assert words in answer.json["error"]
        assert len(answer.body) < 400
        assert stage.guard.audit() == ()


@pytest.mark.parametrize("position", [None, -1, 1.5, True, "7"])
async def test_a_position_is_a_whole_number(position: Any) -> None:
    """A message is lost by a skip: nothing is rounded or guessed."""
    async with served() as stage:
        answer = await command(stage.control, "skip", target="orders[0]", position=position, **WHO)
        assert (answer.status, answer.json["error"].partition(":")[0]) == (422, "position must be a whole number from 0")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 10_000, b'{"for": NaN}', b'{"for": 1e999}'])
async def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    """Whatever it is."""
    async with served() as stage:
        headers = {"content_type": "application/json", "authorization": f"Bearer {TOKEN}"}
        answer = await ask(stage.control, "/commands/hold", "POST", body, **headers)
        assert answer.status in {400, 422}
        assert stage.guard.audit() == ()


async def test_a_form_is_no_command() -> None:
    """A page can send a form anywhere without asking; JSON it cannot."""
    async with served() as stage:
        for kind in ("", "text/plain", "application/x-www-form-urlencoded"):
            assert (await command(stage.control, "hold", headers={"content_type": kind}, target="orders", **WHO)).status == 415


async def test_a_command_of_another_name_is_not_there() -> None:
    """Those that there are, are named; no other method of the guard can be reached."""
    async with served() as stage:
        for name in ("stop", "turn", "clear_override", "__init__", "%5f%5finit__"):
            answer = await command(stage.control, name, target="orders", **WHO)
            assert answer.status == 404
            assert "there are hold, unhold" in answer.json["error"]


async def test_a_body_that_is_too_long_is_cut() -> None:
    """With and without a length that says so."""
    async with served() as stage:
        headers = {"content_type": "application/json", "authorization": f"Bearer {TOKEN}"}
        answer = await ask(stage.control, "/commands/hold", "POST", b"x" * (BODY_AT_MOST + 1), **headers)
        assert answer.status == 413
        chunk = b"%x\r\n%s\r\n" % (BODY_AT_MOST + 1, b"x" * (BODY_AT_MOST + 1))
        raw = request("POST", "/commands/hold", transfer_encoding="chunked", **headers) + chunk
        assert parsed(await exchange(stage.control, raw)).status == 413


async def test_a_body_that_does_not_come_ends_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that holds a request up holds up nothing else."""
    monkeypatch.setattr("holdgate.control.app._BODY_WITHIN", 0.1)
    async with served() as stage:
        headers = {"content_type": "application/json", "authorization": f"Bearer {TOKEN}", "content_length": "100"}
        slow = asyncio.create_task(exchange(stage.control, request("POST", "/commands/hold", **headers) + b'{"target"'))
        assert (await ask(stage.control, "/livez")).status == 200
        answer = parsed(await slow)
        assert (answer.status, answer.json) == (408, {"error": "the body must arrive within 0.1 s"})


async def test_a_client_that_hangs_up_in_the_middle_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is carried out, and nothing is logged."""
    async with served() as stage:
        caplog.clear()
        headers = {"content_type": "application/json", "authorization": f"Bearer {TOKEN}", "content_length": "100"}
        async with connections(stage.control, 1) as ((_, writer),):
            writer.write(request("POST", "/commands/hold", **headers) + b'{"target"')
            await writer.drain()
        assert (await ask(stage.control, "/livez")).status == 200
        await asyncio.sleep(0)
        assert stage.guard.audit() == ()
        assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []
