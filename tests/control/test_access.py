from __future__ import annotations

import inspect
from typing import Any

import pytest
from tests.control.served import TOKEN, ask, command, exchange, parsed, request, served

from holdgate import HoldgateError, Partition
from holdgate.control import Control
from holdgate.control.access import Denied, check_token
from holdgate.errors import SettingsError

HOLD = {"target": "orders", "reason": "migration", "actor": "alice"}
READ_TOKEN = "reader-6a1f0c4b2e"  # noqa: S105 - of these tests alone


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "with a space in it", "é" * 20, "x" * 20 + "\n", 12345678901234567890, b"x" * 20])
def test_a_token_that_protects_nothing_is_refused(token: Any) -> None:
    """Empty, short, or not to be sent as a header. The error does not quote it."""
    with pytest.raises(SettingsError) as refused:
        check_token("token", token)
    assert "secrets.token_urlsafe" in str(refused.value)
    assert len(str(token)) < 5 or str(token) not in str(refused.value)


def test_an_empty_token_names_its_likely_cause() -> None:
    """A variable that is not set, a secret that is not mounted."""
    with pytest.raises(SettingsError, match=r"token is empty, so nothing would be protected\. Is the variable or file"):
        Control(token="")


def test_without_a_token_nobody_listens_beyond_loopback() -> None:
    """Refused when the Control is made, before anything runs."""
    with pytest.raises(SettingsError, match="is reached from other machines, and there is no token"):
        Control(port=9099, host="0.0.0.0")  # noqa: S104
    with pytest.raises(SettingsError, match="is reached from other machines"):
        Control(port=9099, host="::")
    Control(port=9099, host="0.0.0.0", token=TOKEN)  # noqa: S104
    Control(port=9099, host="::1")
    Control(port=9099, host="localhost")


def test_a_token_is_in_no_repr_and_in_no_attribute() -> None:
    """A traceback with local variables, or a dump, shows a digest at most."""
    control = Control(token=TOKEN, read_token=READ_TOKEN)
    seen: set[int] = set()

    def texts(value: Any, depth: int = 0) -> Any:
        if id(value) in seen or depth > 6:
            return
        seen.add(id(value))
        yield repr(value)
        members = getattr(value, "__dict__", {})
        for member in [*members.values(), *(value if isinstance(value, list | tuple) else ())]:
            if not inspect.ismodule(member):
                yield from texts(member, depth + 1)

    everything = "".join(texts(control))
    assert "Access" in everything
    assert TOKEN not in everything
    assert READ_TOKEN not in everything


async def test_without_a_token_commands_are_refused() -> None:
    """Reading goes on."""
    async with served(Control(port=0)) as stage:
        answer = await command(stage.control, "hold", **HOLD)
        assert (answer.status, answer.json) == (403, {"error": "this worker takes no commands: give Control(token=...) to allow them"})
        assert (await ask(stage.control, "/status")).status == 200
        assert stage.guard.audit() == ()


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN.upper()}",
        "Bearer " + "x" * 9000,
    ],
)
async def test_a_wrong_token_commands_nothing(authorization: str) -> None:
    """The answer says how a token is sent, and nothing of the one that came."""
    async with served() as stage:
        answer = await command(stage.control, "hold", headers={"authorization": authorization}, **HOLD)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json == {"error": "commands need the token: send it as `Authorization: Bearer TOKEN`"}
        assert stage.guard.audit() == ()


async def test_the_right_token_commands() -> None:
    """Whatever the case of its scheme, as HTTP says."""
    async with served() as stage:
        assert (await command(stage.control, "hold", headers={"authorization": f"bearer {TOKEN}"}, **HOLD)).status == 200
        assert stage.guard.snapshot().sources[Partition("orders", 0)].reasons == ("operator",)


async def test_a_token_in_the_address_is_refused() -> None:
    """Addresses end up in logs, histories and referrers: nobody must get used to that."""
    async with served() as stage:
        raw = request("POST", f"/commands/hold?token={TOKEN}", b"{}", authorization=f"Bearer {TOKEN}", content_type="application/json")
        answer = parsed(await exchange(stage.control, raw))
        assert answer.status == 400
        assert TOKEN.encode() not in answer.body


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"origin": "http://127.0.0.1.evil.example"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"origin": "http://127.0.0.1"}, 200),
        ({"origin": "https://127.0.0.1", "sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "none"}, 200),
    ],
)
async def test_a_page_of_another_origin_commands_nothing(headers: dict[str, str], status: int) -> None:
    """Even with the token. A program sends no origin, and a page of the worker's own sends the worker's."""
    async with served() as stage:
        assert (await command(stage.control, "hold", headers=headers, **HOLD)).status == status
        assert len(stage.guard.audit()) == (status == 200)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        ("127.0.0.1.evil.example:9099", 421),
        ("localhost.evil.example", 421),
        ("10.0.0.1", 421),
        ("localhost:9099", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:9099", 200),
    ],
)
async def test_a_name_that_points_to_loopback_reads_nothing(host: str, status: int) -> None:
    """DNS rebinding: a page of evil.example whose name has come to mean 127.0.0.1 is the same origin to a browser."""
    async with served() as stage:
        assert (await ask(stage.control, "/status", host=host)).status == status


async def test_reading_may_need_a_token_of_its_own() -> None:
    """The probes never do; a token for commands reads too, and one for reading does not command."""
    async with served(Control(port=0, token=TOKEN, read_token=READ_TOKEN)) as stage:
        for path in ("/status", "/audit", "/events"):
            assert (await ask(stage.control, path)).status == 401
            assert (await ask(stage.control, path, authorization="Bearer wrong")).status == 401
        assert (await ask(stage.control, "/status", authorization=f"Bearer {READ_TOKEN}")).status == 200
        assert (await ask(stage.control, "/status", authorization=f"Bearer {TOKEN}")).status == 200
        assert (await ask(stage.control, "/livez")).status == 200
        assert (await command(stage.control, "hold", token=READ_TOKEN, **HOLD)).status == 401


async def test_a_name_is_asked_for_where_more_than_loopback_is_served() -> None:
    """A pod's address or a service's name is as good as any."""
    async with served(Control(port=0, host="0.0.0.0", token=TOKEN)) as stage:  # noqa: S104
        assert (await ask(stage.control, "/livez", host="worker.namespace.svc")).status == 200


async def test_no_refusal_is_an_error_of_ours() -> None:
    """A user who catches HoldgateError around a guard never meets one of a client's."""
    assert not issubclass(Denied, HoldgateError)
