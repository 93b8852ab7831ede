"""The tables of docs/reference/mutation.md."""

from __future__ import annotations

from tests.mutation.results import FileResult, argued, arguments, load


def score(results: list[FileResult]) -> float:
    """The share of mutants that a test noticed, in percent; 100 of none."""
    mutants = sum(it.mutants for it in results)
    return 100 * (1 - sum(len(it.survivors) for it in results) / mutants) if mutants else 100.0


def score_table() -> str:
    """Every file with its score, and both floors."""
    results = load()
    lines = ["| file | mutants | survived | killed |", "| --- | ---: | ---: | ---: |"]
    lines += [_row(f"`{file}`", [it]) for file, it in results.items() if it.mutants]
    for floor in ("core", "flow"):
        lines.append(_row(f"**{floor}**", [it for file, it in results.items() if file.startswith(floor)]))
    lines.append(_row("**both**", list(results.values())))
    return "\n".join(lines)


def _row(name: str, results: list[FileResult]) -> str:
    survived = sum(len(it.survivors) for it in results)
    return f"| {name} | {sum(it.mutants for it in results)} | {survived} | {score(results):.1f} % |"


def survivors_list() -> str:
    """Every survivor with the reason why no test should notice it."""
    known = arguments()
    lines: list[str] = []
    for file, result in load().items():
        if result.survivors:
            lines += ["", f"`{file}`", ""]
        for name in result.survivors:
            found = argued(file, name, known)
            lines.append(f"- {name}: {found.why if found else '**a test is missing**'}")
    return "\n".join(lines[1:])
