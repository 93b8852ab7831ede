"""All benchmarks, or those named, one after the other; `--write` puts the figures into docs/reference/benchmarks.md and draws the plots.

    python -m benchmarks [NAME ...] [--write]

One that cannot run here (no Java for Kafka, say) does not keep the rest from it, and keeps the figures it had.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from datetime import UTC, datetime

from benchmarks.page import PAGE, put
from benchmarks.plots import draw

# In the order of the page.
NAMES = (
    "call_forms",
    "core_call",
    "classification",
    "peers",
    "refusals",
    "kafka_throughput",
    "kafka_clients",
    "rabbitmq_throughput",
    "floors",
    "faststream_guarded",
    "faststream_steps",
    "celery_guarded",
    "fleet_cost",
    "by_key",
    "mixed_needs",
    "outage_cost",
    "hold_latency",
    "first_outage",
    "held_memory",
    "hour_of_holds",
    "flow_turn",
    "many_sources",
    "telemetry",
    "control",
    "ramp_fleet",
    "heal",
    "waits",
    "fleet",
    "fleet_scenarios",
    "limits",
    "keyed_limits",
    "limits_peers",
    "limits_real",
    "import_time",
)


def printed(name: str) -> str | None:
    """What one prints, shown as it comes; None when it did not run to its end."""
    print(f"## {name}\n", flush=True)
    lines: list[str] = []
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:  # noqa: S603 - a module of this folder
        for line in running.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    print(flush=True)
    return None if running.returncode else "".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"left out: all of {', '.join(NAMES)}")
    parser.add_argument("--write", action="store_true", help=f"put the figures into {PAGE.name}, and draw the plots")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(NAMES)):
        parser.error(f"no benchmark is named {', '.join(unknown)}; there are {', '.join(NAMES)}")
    failed = []
    for name in options.names or NAMES:
        text = printed(name)
        if text is None:
            failed.append(name)
        elif options.write:
            put(name, text, datetime.now(UTC).strftime("%d %B %Y").lstrip("0"))
    if options.write:
        draw()
    if failed:
        sys.exit(f"these did not run to their end: {', '.join(failed)}")


if __name__ == "__main__":
    main()
