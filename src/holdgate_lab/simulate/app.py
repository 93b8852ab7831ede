"""The command `holdgate simulate` and its options. holdgate finds it by its entry point; what it does is imported when it runs."""

from __future__ import annotations

from pathlib import Path

import click

from holdgate.cli import FAILED, INTERRUPTED
from holdgate.cli.commands import Refusal
from holdgate.errors import HoldgateError

SIMULATE_NOTES = """\b
--json prints one document, and nothing else:
  version, scenario, description, seconds, sample_every, workers, seed,
  interrupted, sound (no invariant was broken), faults,
  differences (file, setting, scenario, against), and for each of
  runs   label, worker, against, fleet, totals, dependencies, streams,
         violations (at, invariant, words), timeline (a list of samples
         for each key)

\b
Exit codes: 0 it ran to its end, 1 an invariant was broken,
2 wrong arguments or files, 130 interrupted (the runs that were finished
are still reported). With --world: 1 a figure is not as promised; --json
prints version, world, description, seconds, workers, seed, figures,
promised and missed."""


@click.command("simulate", epilog=SIMULATE_NOTES)
@click.argument("scenario", required=False)
@click.option("--list", "as_list", is_flag=True, help="Name the scenarios and worlds that come with holdgate, and what each teaches.")
@click.option("--world", metavar="NAME", help="Simulate workers before a service with a limit instead, in the world of this name.")
@click.option("--against", multiple=True, metavar="FILE", help="Compare with the settings in FILE; again for more files.")
@click.option("--worker", "workers", multiple=True, type=click.Choice(["holdgate", "naive", "one-probe", "ten-probes"]), help="Only these.")
@click.option(
    "--fleet",
    type=click.IntRange(min=2),
    metavar="N",
    help="Simulate N workers, each alone and then as a fleet that shares a log. Topics get at least N partitions.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed is another run of chance.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the report.")
@click.option("--html", type=click.Path(), metavar="FILE", help="Write the report into one HTML file that needs nothing else, too.")
@click.pass_context
def simulate(  # noqa: PLR0917 - click passes them by name
    context: click.Context,
    scenario: str | None,
    as_list: bool,
    world: str | None,
    against: tuple[str, ...],
    workers: tuple[str, ...],
    fleet: int | None,
    seed: int,
    as_json: bool,
    html: str | None,
) -> None:
    """Simulate a fleet of workers in SCENARIO, and tell what its settings would have done.

    SCENARIO is a TOML file, or the name of one that comes with holdgate. The same fleet runs with holdgate, without anything (naive), and
    with the usual breakers, which step from one or ten probes to the full rate. Nothing is real but the rules: the time is simulated, and
    the same seed gives the same report on every machine. With --fleet the workers run alone, and as a fleet that agrees over a log.
    """
    if as_list:
        if scenario or world or against or workers or fleet or as_json or html:
            raise click.UsageError("--list takes nothing else")
        _print_lists()
    elif world is not None:
        if scenario or against or workers or fleet or html:
            raise click.UsageError("--world takes --seed and --json, and nothing else")
        _play_world(context, world, seed, as_json=as_json)
    elif scenario is None:
        raise click.UsageError("name a scenario: a TOML file, or one of those that --list names; or a world, with --world")
    else:
        if fleet and workers and "holdgate" not in workers:
            raise click.UsageError("--fleet is for holdgate's workers: take --worker holdgate, too")
        usual = ("holdgate", "naive", "one-probe", "ten-probes") if fleet is None else ("holdgate",)
        kinds = [worker.replace("-", " ") for worker in workers or usual]
        _play_scenario(context, scenario, against, kinds, seed, fleet=fleet, as_json=as_json, html=html)


def _print_lists() -> None:
    from holdgate_lab.simulate.command import print_shipped
    from holdgate_lab.simulate.worlds import print_worlds

    print_shipped()
    click.echo("\nWorlds, for --world:")
    print_worlds()


def _play_world(context: click.Context, world: str, seed: int, *, as_json: bool) -> None:
    from holdgate_lab.simulate.worlds import run_world

    try:
        ending = run_world(world, seed, as_json=as_json)
    except HoldgateError as error:
        raise Refusal(str(error)) from error
    _end(context, ending.value)


def _play_scenario(
    context: click.Context,
    scenario: str,
    against: tuple[str, ...],
    kinds: list[str],
    seed: int,
    *,
    fleet: int | None,
    as_json: bool,
    html: str | None,
) -> None:
    from holdgate_lab.simulate.command import SimulateOptions, run_simulate

    try:
        ending = run_simulate(SimulateOptions(scenario, against, kinds, seed, as_json, Path(html) if html else None, fleet))
    except HoldgateError as error:
        raise Refusal(str(error)) from error
    _end(context, ending.value)


def _end(context: click.Context, ending: str) -> None:
    if ending != "sound":
        context.exit(FAILED if ending == "broken" else INTERRUPTED)
