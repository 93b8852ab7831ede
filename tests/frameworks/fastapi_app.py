"""The example's lifespan in a FastAPI app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from examples.asgi_app import lifespan
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI(lifespan=lifespan)


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Return how the workers are."""
    return {"status": app.state.guard.health().status}


@app.get("/ticks")
async def ticks() -> StreamingResponse:
    """Answer without an end."""

    async def forever() -> AsyncIterator[bytes]:
        while True:
            yield b"tick\n"
            await asyncio.sleep(0.1)

    return StreamingResponse(forever())
