"""A health endpoint for what restarts and routes, and an observer that counts: both in a program of your own."""

from collections import Counter
from dataclasses import asdict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from holdgate import Guard, Health, State
from holdgate.events import AnyEvent, CircuitOpened, SourceHeld


# region endpoint
def health_app(guard: Guard) -> Starlette:
    async def healthz(_: Request) -> JSONResponse:
        health: Health = guard.health()
        return JSONResponse(asdict(health), status_code=200 if health.live else 503)

    async def readyz(_: Request) -> JSONResponse:
        health = guard.health()
        return JSONResponse({"status": health.status, "reasons": health.reasons}, status_code=200 if health.ready else 503)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz)])


# endregion


# region snapshot
def what_waits(guard: Guard) -> dict[str, int]:
    snapshot = guard.snapshot()
    return {str(source): seen.waiting for source, seen in snapshot.sources.items() if seen.held}


def what_is_down(guard: Guard) -> list[str]:
    return [name for name, circuit in guard.snapshot().dependencies.items() if circuit.state is State.OPEN]


# endregion


# region observer
class Outages:
    """Counts what opened, and remembers why sources are held."""

    def __init__(self) -> None:
        self.opened: Counter[str] = Counter()
        self.held: dict[str, tuple[str, ...]] = {}

    def __call__(self, event: AnyEvent) -> None:
        match event:
            case CircuitOpened(name=name):
                self.opened[name] += 1
            case SourceHeld(source=source, reasons=reasons):
                self.held[str(source)] = reasons
            case _:
                pass


# endregion
