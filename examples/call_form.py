"""A dependency without any consumer: a plain circuit breaker around a call, in its four forms."""

import asyncio

from holdgate import CallNotPermitted, CircuitSettings, Dependency

service = {"up": True}


async def fetch_price(item: str) -> float:
    """What stands for a call over the network."""
    if not service["up"]:
        raise ConnectionError("the price service is down")
    return {"tea": 3.5}[item]


# region dependency
prices = Dependency(
    "prices",
    failures=(ConnectionError, TimeoutError),
    settings=CircuitSettings(consecutive_failures=3, open_duration=5.0),
)
# endregion


# region guarded
@prices.guarded
async def price_of(item: str) -> float:
    return await fetch_price(item)


# endregion


async def main() -> None:
    # region call
    print("call:", await prices.call(fetch_price, "tea"))
    # endregion
    print("guarded:", await price_of("tea"))
    # region block
    async with prices.calling():
        print("block:", await fetch_price("tea"))
    # endregion
    # region sync
    print("sync:", prices.call_sync(len, "tea"))
    # endregion

    service["up"] = False
    # region refused
    for attempt in range(1, 6):
        try:
            await price_of("tea")
        except CallNotPermitted as refusal:
            print(f"call {attempt}: refused, {refusal}")
        except ConnectionError:
            print(f"call {attempt}: failed, and the circuit is {prices.circuit.state.name}")
    # endregion
    # region fallback
    print("fallback:", await prices.call(fetch_price, "tea", fallback=lambda _refusal: 3.0))
    # endregion

    service["up"] = True
    await asyncio.sleep(6.1)  # open_duration, and its jitter
    print("after the wait:", await price_of("tea"), prices.circuit.state.name)


asyncio.run(main())
