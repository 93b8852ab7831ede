"""Shows what breaks the rules of the house today, or drops from the lists what no longer does.

    python -m tests.house [RULE ...] [--shrink]

Without --shrink it changes nothing.
"""

from __future__ import annotations

import argparse

from tests.house.known import ALLOWED, NOT_YET, load, save, shrunk
from tests.house.rules import RULES


def main() -> None:
    """Print each rule with what breaks it, and whether that is known."""
    parser = argparse.ArgumentParser(prog="python -m tests.house", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rules", nargs="*", metavar="RULE", help=f"left out: all of {', '.join(RULES)}")
    parser.add_argument("--shrink", action="store_true", help="drop from both lists what no longer breaks its rule")
    options = parser.parse_args()
    if unknown := sorted(set(options.rules) - set(RULES)):
        parser.error(f"no rule is named {', '.join(unknown)}; there are {', '.join(RULES)}")
    wanted = list(RULES) if options.shrink or not options.rules else options.rules
    found = {name: RULES[name].find() for name in wanted}
    if options.shrink:
        for path in (ALLOWED, NOT_YET):
            save(path, shrunk(load(path), found))
    allowed, not_yet = load(ALLOWED), load(NOT_YET)
    for name in wanted:
        print(f"\n== {name}: {RULES[name].sentence}; broken {len(found[name])} times")
        for key, what in found[name].items():
            known = "allowed" if key in allowed.get(name, {}) else "not yet" if key in not_yet.get(name, {}) else "NEW"
            print(f"{known:>7}  {key}: {what}")


if __name__ == "__main__":
    main()
