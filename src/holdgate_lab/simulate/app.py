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
  runs   label, worker, against, totals, dependencies, streams,
         violations (at, invariant, words), timeline (a list of samples
         for each key)

\b
Exit codes: 0 it ran to its end, 1 an invariant was broken,
2 wrong arguments or files, 130 interrupted (the runs that were finished
are still reported)."""


@click.command("simulate", epilog=SIMULATE_NOTES)
@click.argument("scenario", required=False)
@click.option("--list", "as_list", is_flag=True, help="Name the scenarios that come with holdgate, and what each teaches.")
@click.option("--against", multiple=True, metavar="FILE", help="Compare with the settings in FILE; again for more files.")
@click.option("--worker", "workers", multiple=True, type=click.Choice(["holdgate", "naive", "one-probe", "ten-probes"]), help="Only these.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed is another run of chance.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the report.")
@click.option("--html", type=click.Path(), metavar="FILE", help="Write the report into one HTML file that needs nothing else, too.")
@click.pass_context
def simulate(  # noqa: PLR0917 - click passes them by name
    context: click.Context,
    scenario: str | None,
    as_list: bool,
    against: tuple[str, ...],
    workers: tuple[str, ...],
    seed: int,
    as_json: bool,
    html: str | None,
) -> None:
    """Simulate a fleet of workers in SCENARIO, and tell what its settings would have done.

    SCENARIO is a TOML file, or the name of one that comes with holdgate. The same fleet runs with holdgate, without anything (naive), and
    with the usual breakers, which step from one or ten probes to the full rate. Nothing is real but the rules: the time is simulated, and
    the same seed gives the same report on every machine.
    """
    from holdgate_lab.simulate.command import SimulateEnding, SimulateOptions, print_shipped, run_simulate

    if as_list:
        if scenario or against or workers or as_json or html:
            raise click.UsageError("--list takes nothing else")
        print_shipped()
        return
    if scenario is None:
        raise click.UsageError("name a scenario: a TOML file, or one of those that --list names")
    kinds = [worker.replace("-", " ") for worker in workers or ("holdgate", "naive", "one-probe", "ten-probes")]
    try:
        ending = run_simulate(SimulateOptions(scenario, against, kinds, seed, as_json, Path(html) if html else None))
    except HoldgateError as error:
        raise Refusal(str(error)) from error
    if ending is not SimulateEnding.SOUND:
        context.exit(FAILED if ending is SimulateEnding.BROKEN else INTERRUPTED)
