"""What consumers without a guard do in an outage, and what the same messages meet behind one: figures from a broker in memory.

    python -m examples.traps nack_loop
    python -m examples.traps            all of them

Time is virtual, so that an outage of a minute takes a fraction of a second, and a run ends the same every time.
"""

import logging
import sys

from examples.traps import ack_first, breaker_in_handler, dead_letters, nack_loop, prefetch, retry_topic, sleeping
from examples.traps.world import table

TRAPS = {
    "nack_loop": nack_loop,
    "sleeping": sleeping,
    "ack_first": ack_first,
    "breaker_in_handler": breaker_in_handler,
    "retry_topic": retry_topic,
    "prefetch": prefetch,
    "dead_letters": dead_letters,
}

if __name__ == "__main__":
    wanted = sys.argv[1:] or list(TRAPS)
    unknown = [name for name in wanted if name not in TRAPS]
    if unknown:
        sys.exit(f"no trap is named {unknown[0]!r}; there are {', '.join(TRAPS)}")
    logging.getLogger("holdgate").addHandler(logging.NullHandler())  # the log of the guard is not what is shown here
    for name in wanted:
        print(f"{name}\n{table(TRAPS[name])}\n")
