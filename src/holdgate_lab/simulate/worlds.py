"""`holdgate simulate --world`: one world with a limit, what came of it, and whether it is as promised."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

from holdgate.errors import SettingsError
from holdgate_lab.simulate.command import SimulateEnding
from holdgate_lab.worlds.catalogue import WORLDS
from holdgate_lab.worlds.figures import WorldFigures, missed
from holdgate_lab.worlds.hard import HARD_WORLDS
from holdgate_lab.worlds.more import MORE_WORLDS
from holdgate_lab.worlds.odd import ODD_WORLDS
from holdgate_lab.worlds.playing import play
from holdgate_lab.worlds.world import LimitedWorld

# Raised when a key is renamed or removed, or its meaning changes; a new key alone leaves it as it is.
VERSION = 1

ALL = {**WORLDS, **MORE_WORLDS, **HARD_WORLDS, **ODD_WORLDS}


def run_world(name: str, seed: int, *, as_json: bool) -> SimulateEnding:
    """Run one world and report. Raises SettingsError for a name that no world has."""
    world = world_named(name)
    try:
        figures = play(world, seed)
    except KeyboardInterrupt:
        return SimulateEnding.INTERRUPTED
    misses = missed(figures, world.promise)
    if as_json:
        sys.stdout.write(json.dumps(_document(world, seed, figures, misses), indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _lines(world, seed, figures, misses)))
    return SimulateEnding.BROKEN if misses else SimulateEnding.SOUND


def print_worlds() -> None:
    """Print the worlds, and what each is."""
    width = max(len(name) for name in ALL)
    for name, world in ALL.items():
        sys.stdout.write(f"{name:<{width}}  {world.teaches}\n")


def world_named(name: str) -> LimitedWorld:
    """Return the world of this name, or of this letter."""
    by_letter = {world.letter: world for world in WORLDS.values()}
    found = ALL.get(name) or by_letter.get(name)
    if found is None:
        near = difflib.get_close_matches(name, ALL, n=1)
        guess = f"did you mean {near[0]}?" if near else "holdgate simulate --list names them."
        raise SettingsError(f"--world {name}: no world has this name; {guess}")
    return found


def _lines(world: LimitedWorld, seed: int, figures: WorldFigures, misses: list[str]) -> Iterator[str]:
    workers = f"{world.workers} worker" + ("s" if world.workers != 1 else "")
    yield f"{world.name}: {world.teaches}"
    yield f"{world.seconds:g} s simulated with {workers}, seed {seed}"
    yield ""
    for label, value in _rows(figures):
        yield f"{label:<34}{value:>10}"
    yield ""
    yield "as promised" if not misses else "not as promised:"
    yield from (f"  {miss}" for miss in misses)


def _rows(figures: WorldFigures) -> Iterator[tuple[str, str]]:
    yield "good calls", f"{figures.good:,}"
    yield "of the best possible", f"{figures.goodput:.1%}"
    yield "calls in vain", f"{figures.wasted:,}"
    yield "of all calls", f"{figures.waste:.2%}"
    yield "in flight in a worker, p99", f"{figures.in_flight}"
    if figures.fairness is not None:
        yield "fairness between workers (Jain)", f"{figures.fairness:.3f}"
    if figures.calls_a_minute is not None:
        yield "calls a minute in the trouble", f"{figures.calls_a_minute:.1f}"
    if figures.was_troubled:
        yield "back after the trouble", "not yet" if figures.back_after is None else f"{figures.back_after:g} s"


def _document(world: LimitedWorld, seed: int, figures: WorldFigures, misses: list[str]) -> dict[str, object]:
    return {
        "version": VERSION,
        "world": world.name,
        "description": world.teaches,
        "seconds": world.seconds,
        "workers": world.workers,
        "seed": seed,
        "figures": asdict(figures),
        "promised": asdict(world.promise),
        "missed": misses,
    }
