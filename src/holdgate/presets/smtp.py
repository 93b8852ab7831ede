"""Which exceptions of mail clients are the relay's failures: smtplib and aiosmtplib.

The first digit of a reply tells (RFC 5321, 4.2.1): 4 means not now, 5 means never. That the relay does not know a recipient (550) is the
message's own; that it does not take our login (530, 534, 535), or does not greet us at all (554), every message meets: a failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from holdgate import network
from holdgate.network import attribute, known_in
from holdgate.slips import passed_uncalled

_MAIL = ("smtplib", "aiosmtplib")
# Before a message comes into it, whatever the reply: the connection, the greeting, the login.
_is_before = known_in(
    _MAIL,
    {
        "SMTPServerDisconnected",
        "SMTPConnectError",
        "SMTPHeloError",
        "SMTPAuthenticationError",
        "SMTPTimeoutError",
        "SMTPConnectTimeoutError",
    },
)
_is_recipients = known_in(_MAIL, {"SMTPRecipientsRefused"})

# Not now: 421 (closing), 450 (mailbox busy, greylisting), 451 (trouble in processing), 452 (no room), 454 (no login or TLS for now).
_NOT_NOW = range(400, 500)
# Both clients' number for a reply that begins with none.
_NONSENSE = -1
# Authentication needed, too weak, refused; a relay that never asked for it answers so to a message (530).
_LOGIN = frozenset({530, 534, 535, 538})


@passed_uncalled("failures=smtp.failures")
def failures(error: BaseException) -> bool:
    """Return whether a mail client's exception is the relay's failure: no relay, cut off, out of time, any 4xx reply, no greeting, no
    login.

    A 5xx reply to the message, its sender or its recipients is the message's own. Of several recipients one with a 4xx is enough: the
    message has to be sent again.
    """
    if _is_before(type(error)):
        return True
    if _is_recipients(type(error)):
        return any(_is_not_now(code) for code in _codes(attribute(error, "recipients")))
    # smtplib's name for it, and aiosmtplib's.
    replies = (attribute(error, "smtp_code"), attribute(error, "code"))
    if any(isinstance(reply, int) for reply in replies):
        return any(_is_not_now(reply) for reply in replies)
    return network.failures(error)


def _is_not_now(code: object) -> bool:
    return isinstance(code, int) and (code in _NOT_NOW or code in _LOGIN or code == _NONSENSE)


def _codes(recipients: object) -> Iterable[object]:
    """Yield the reply to each: smtplib has `{address: (code, text)}`, aiosmtplib a list of exceptions with `code`."""
    if isinstance(recipients, Mapping):
        for reply in cast("Mapping[str, tuple[int, bytes]]", recipients).values():
            yield reply[0]
    for refused in cast("Iterable[Any]", recipients if isinstance(recipients, list) else ()):
        yield attribute(refused, "code")
