"""The management API, where there is one: policies, which no AMQP call tells."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Mapping
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
        return await asyncio.to_thread(self._policy, vhost, queue)

    def _policy(self, vhost: str, queue: str) -> Mapping[str, Any] | None:
        address = f"{self._base}/api/queues/{quote(vhost, safe='')}/{quote(queue, safe='')}"
        try:
            with urlopen(Request(address, headers=self._headers), timeout=_ANSWER_WITHIN) as answer:  # noqa: S310 - http, see above
                told: object = json.load(answer)
        except (URLError, OSError, ValueError) as error:
            log.warning("the management API at %s does not tell the policies of %s: %r", self._base, queue, error)
            return None
        definition = cast("dict[str, object]", told).get("effective_policy_definition") if isinstance(told, dict) else None
        return cast("dict[str, Any]", definition) if isinstance(definition, dict) else {}
