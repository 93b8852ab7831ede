"""What the failures of real mail clients are taken for, on sockets and on relays that refuse at every step of a conversation."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from tests.clients.places import IN_VAIN, PATIENCE, Serve, drop_at_once, greet_with_nonsense, hang, refusing, serving
from tests.clients.verdicts import raised

MAIL = "Subject: paid\r\n\r\nThank you.\r\n"
TO = ["a@example.com", "b@example.com"]


def relay(replies: Mapping[str, str]) -> Serve:
    """A relay that answers a command (its first words) with what is given, and takes everything else."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(text: str) -> None:
            writer.write(f"{text}\r\n".encode())
            await writer.drain()

        def reply(said: str, usual: str) -> str:
            return next((text for words, text in replies.items() if said.upper().startswith(words)), usual)

        await say(reply("GREETING", "220 here"))
        while line := (await reader.readline()).decode().strip():
            verb = line.split()[0].upper()
            if verb == "DATA":
                await say(reply("DATA", "354 go on"))
                if "DATA" not in replies:
                    await reader.readuntil(b"\r\n.\r\n")
                    await say(reply("END OF DATA", "250 taken"))
            else:
                await say(
                    reply(line, "250-here\r\n250 AUTH PLAIN LOGIN" if verb == "EHLO" else "221 bye" if verb == "QUIT" else "250 fine")
                )

    return serve


SOCKETS: dict[str, Serve | None] = {"refused": None, "dropped": drop_at_once, "hung": hang, "nonsense": greet_with_nonsense}
TROUBLES: dict[str, Serve] = {
    "421 greeting": relay({"GREETING": "421 too busy"}),
    "554 greeting": relay({"GREETING": "554 go away"}),
    "421 in between": relay({"MAIL": "421 closing"}),
    "451 sender": relay({"MAIL": "451 try again later"}),
    "452 data": relay({"END OF DATA": "452 out of storage"}),
    "450 recipients": relay({"RCPT": "450 greylisted"}),
    "450 and 550": relay({"RCPT TO:<A@": "450 greylisted", "RCPT TO:<B@": "550 unknown"}),
    "454 login": relay({"AUTH": "454 not now"}),
    "535 login": relay({"AUTH": "535 wrong password"}),
    "530 sender": relay({"MAIL": "530 login first"}),
}
OWN_FAULTS: dict[str, Serve] = {
    "550 recipients": relay({"RCPT": "550 unknown"}),
    "553 sender": relay({"MAIL": "553 no such sender"}),
    "554 data": relay({"END OF DATA": "554 looks like spam"}),
    "552 data": relay({"END OF DATA": "552 too large"}),
}


def send(port: int, patience: float, *, login: bool) -> None:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="here", timeout=patience) as client:
        if login:
            client.login("user", "secret")
        client.sendmail("shop@example.com", TO, MAIL)


async def send_async(port: int, patience: float, *, login: bool) -> None:
    import aiosmtplib

    more = {"username": "user", "password": "secret"} if login else {}
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, timeout=patience, start_tls=False, local_hostname="here", **more)
    async with client:
        await client.sendmail("shop@example.com", TO, MAIL)


async def send_in_thread(port: int, patience: float, *, login: bool) -> None:
    await asyncio.to_thread(send, port, patience, login=login)


CLIENTS: dict[str, Callable[..., Awaitable[Any]]] = {"smtplib": send_in_thread, "aiosmtplib": send_async}


async def verdict_of(client: str, situation: str, serve: Serve | None, record: Callable[..., str]) -> str:
    async with refusing() if serve is None else serving(serve) as port:
        patience = IN_VAIN if situation == "hung" else PATIENCE
        error = await raised(lambda: CLIENTS[client](port, patience, login="login" in situation))
    return record("smtp", client, None if client == "smtplib" else client, situation, error)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("situation", [*SOCKETS, *TROUBLES])
async def test_a_relay_that_is_not_there_or_cannot_now_is_a_failure(client: str, situation: str, record: Callable[..., str]) -> None:
    """No answer, any 4xx, no greeting, no login."""
    assert await verdict_of(client, situation, (SOCKETS | TROUBLES)[situation], record) != "own"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("situation", OWN_FAULTS)
async def test_a_message_that_the_relay_refuses_is_its_own(client: str, situation: str, record: Callable[..., str]) -> None:
    """A 5xx for the sender, the recipients, or what is in it."""
    assert await verdict_of(client, situation, OWN_FAULTS[situation], record) == "own"
