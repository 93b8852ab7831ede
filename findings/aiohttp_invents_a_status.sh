#!/usr/bin/env bash
# aiohttp raises ClientResponseError with status=400 when a server's answer is no HTTP at all.
#
# No server sent that 400: aiohttp's parser has it as a default (aiohttp/http_exceptions.py, BadHttpMessage.code = 400), and the exception
# for good answers with an error status takes it over. Who sorts errors by `exc.status` reads "my request is wrong" where the truth is "this
# is no web server" (a port that belongs to something else, a proxy in trouble). Only `exc.__cause__` tells.
# A good engineer would expect what httpx, requests and http.client do: a protocol or connection error without a status.
#
# Seen with aiohttp 3.14.5 on CPython 3.11.7:
#   ClientResponseError status=400 cause=HttpProcessingError
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aiohttp==3.14.5

cat >"$folder/try.py" <<'PYTHON'
import asyncio

import aiohttp


async def talk_nonsense(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\x00\xff no HTTP at all\r\n\r\n")
    await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(talk_nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession() as session:
        try:
            await session.get(f"http://127.0.0.1:{port}/")
        except aiohttp.ClientResponseError as error:
            print(f"ClientResponseError status={error.status} cause={type(error.__cause__).__name__}")
    server.close()


asyncio.run(main())
PYTHON

said=$("$folder/venv/bin/python" "$folder/try.py")
echo "$said"
test "$said" = "ClientResponseError status=400 cause=HttpProcessingError" || { echo "this has changed" >&2; exit 1; }
