"""The tests of confluent-kafka need one that has an asyncio consumer."""

from __future__ import annotations

from importlib.util import find_spec

# make test-lowest has the oldest that the demo allows, which has none.
collect_ignore_glob = [] if find_spec("confluent_kafka.aio") else ["test_*.py"]
