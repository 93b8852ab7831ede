"""Runs on share groups need a client that has them: make test-lowest has an older one."""

from __future__ import annotations

from importlib.util import find_spec

# What has a share consumer has an asyncio consumer, too.
collect_ignore_glob = [] if find_spec("confluent_kafka.aio") else ["test_*.py"]
