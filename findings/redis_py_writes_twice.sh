#!/usr/bin/env bash
# redis-py: an XADD that was not answered in time is in the stream twice, though the caller sees one good answer.
#
# A default client has a retry since redis-py 6.0, and since 8.0 a time limit for answers of 5 s, too. What it repeats are not only
# connections: a command whose answer is late is sent again on a new connection, whether or not it may be repeated. The server has both.
# One would expect that a command that is not idempotent (XADD, INCR, LPUSH) raises TimeoutError, as it does in redis-py 5.0.
#
# What it takes: a server that stands still for longer than the time limit and goes on, as in a snapshot of its machine. Here SIGSTOP.
# What helps: Redis(..., retry=Retry(NoBackoff(), 0)), and a repetition of one's own where it does no harm.
# src/holdgate/brokers/redis/fleet_log.py does that; tests/brokers/redis/test_fleet_log.py shows it.
#
# Seen on 2026-11-29 with redis-py 8.1.0 and 5.0.1, Redis 7.0.15, Valkey 8.1.1, CPython 3.11. Needs python3 with venv, a package index, and
# redis-server or valkey-server on the PATH. Output:
#
#   redis-py 8.1.0, redis.asyncio.Redis: answered, 2 in the stream
#   redis-py 8.1.0, redis.Redis: answered, 2 in the stream
#   redis-py 5.0.1, redis.asyncio.Redis: TimeoutError, 1 in the stream
#   redis-py 5.0.1, redis.Redis: TimeoutError, 1 in the stream
#
# Exits with 1 when that has changed.
set -euo pipefail

server=$(type -P redis-server || type -P valkey-server) || { echo "needs redis-server or valkey-server" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/show.py" <<'PYTHON'
import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time

import redis
import redis.asyncio

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = [sys.argv[1], "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
server = subprocess.Popen(command, stdout=subprocess.DEVNULL)


def length(key):
    with redis.Redis(port=port) as client:
        return client.xlen(key)


def stand_still():
    server.send_signal(signal.SIGSTOP)
    threading.Timer(2.0, server.send_signal, (signal.SIGCONT,)).start()


def write_plainly(key):
    with redis.Redis(port=port, socket_timeout=1) as client:
        client.ping()
        stand_still()
        client.xadd(key, {"a": "1"})


def write_with_asyncio(key):
    async def write():
        client = redis.asyncio.Redis(port=port, socket_timeout=1)
        try:
            await client.ping()
            stand_still()
            await client.xadd(key, {"a": "1"})
        finally:
            await client.aclose()

    asyncio.run(write())


try:
    for _ in range(200):
        try:
            length("up")
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    for name, write in (("redis.asyncio.Redis", write_with_asyncio), ("redis.Redis", write_plainly)):
        try:
            write(name)
            outcome = "answered"
        except redis.TimeoutError:
            outcome = "TimeoutError"
        time.sleep(2.5)  # it goes on, and does what it has got
        print(f"redis-py {redis.__version__}, {name}: {outcome}, {length(name)} in the stream", flush=True)
finally:
    server.kill()
    server.wait()
PYTHON

for version in 8.1.0 5.0.1; do
	python3 -m venv "$folder/$version"
	"$folder/$version/bin/pip" install --quiet --disable-pip-version-check "redis==$version"
	"$folder/$version/bin/python" "$folder/show.py" "$server"
done | tee "$folder/seen"

diff - "$folder/seen" <<'SEEN' && echo "as it was"
redis-py 8.1.0, redis.asyncio.Redis: answered, 2 in the stream
redis-py 8.1.0, redis.Redis: answered, 2 in the stream
redis-py 5.0.1, redis.asyncio.Redis: TimeoutError, 1 in the stream
redis-py 5.0.1, redis.Redis: TimeoutError, 1 in the stream
SEEN
