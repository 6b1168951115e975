"""`python -m tests.validation`: see the package."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.validation", description="Checks, tests and table agree?")
    parser.add_argument("--write", action="store_true", help="write docs/validation.md anew")
    parser.add_argument("--mutate", action="store_true", help="disable checks one by one and run their tests")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time")
    parser.add_argument("--part", default="0/1", help="K/N: only every N-th check, beginning with the K-th")
    parser.add_argument("rules", nargs="*", metavar="ID", help="with --mutate: only the checks of these rules")
    options = parser.parse_args(arguments)
    if options.mutate:
        from tests.validation.mutants import chosen, run

        part, _, parts = options.part.partition("/")
        return run(chosen(options.rules, part=int(part), parts=int(parts)), jobs=options.jobs)
    from tests.validation.document import PATH, disagreements, text

    if options.write:
        PATH.write_text(text(), encoding="utf-8")
    problems = disagreements()
    for problem in problems:
        print(problem)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
