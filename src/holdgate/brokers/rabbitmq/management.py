"""The management API, where there is one: policies and other consumers, which no AMQP call tells."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.error import URLError
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from holdgate.errors import SettingsError

log = logging.getLogger(__name__)

# It answers in milliseconds, and nothing depends on it.
_ANSWER_WITHIN = 5.0


class Management:
    """The API at `url` ("http://user:password@host:15672"), for the queues of one virtual host. Raises SettingsError for another URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError("management_url must be like http://user:password@host:15672")
        port = f":{parts.port}" if parts.port else ""
        self._base = urlunsplit((parts.scheme, f"{parts.hostname}{port}", parts.path.rstrip("/"), "", ""))
        word = f"{parts.username or 'guest'}:{parts.password or 'guest'}"
        self._headers = {"Authorization": "Basic " + base64.b64encode(word.encode()).decode()}

    async def policy(self, vhost: str, queue: str) -> Mapping[str, Any] | None:
        """The settings that policies give a queue, operator policies included; None when the API does not tell."""
        told = await self._queue(vhost, queue)
        definition = None if told is None else told.get("effective_policy_definition", {})
        return cast("dict[str, Any]", definition) if isinstance(definition, dict) or definition is None else {}

    async def consumers(self, vhost: str, queue: str) -> Sequence[Mapping[str, Any]]:
        """Who consumes from a queue, as the API tells it some seconds late; nobody when it does not tell."""
        told = await self._queue(vhost, queue)
        return cast("list[dict[str, Any]]", (told or {}).get("consumer_details", []))

    async def _queue(self, vhost: str, queue: str) -> Mapping[str, object] | None:
        return await asyncio.to_thread(self._ask, f"{self._base}/api/queues/{quote(vhost, safe='')}/{quote(queue, safe='')}", queue)

    def _ask(self, address: str, queue: str) -> Mapping[str, object] | None:
        try:
            with urlopen(Request(address, headers=self._headers), timeout=_ANSWER_WITHIN) as answer:  # noqa: S310 - http, see above
                told: object = json.load(answer)
        except (URLError, OSError, ValueError) as error:
            log.warning("the management API at %s tells nothing of queue %s, such as its policies: %r", self._base, queue, error)
            return None
        return cast("dict[str, object]", told) if isinstance(told, dict) else {}
