"""Runs several commands in one process, so that what they need is imported once: a JSON list of [name, [word, ...]]."""

import json
import logging
import sys

from medssl.cli.main import main

MARK = "=====canary====="


def run(commands: list[list]) -> None:
    """Run commands one after the other, with a line before and after each on both streams."""
    logging.basicConfig(level=0)
    for name, words in commands:
        for stream in (sys.stdout, sys.stderr):
            print(f"\n{MARK}{name}", file=stream, flush=True)
        sys.argv = ["medssl", *words, "--debug"]
        try:
            main()
            code = 0
        except SystemExit as left:
            code = left.code or 0
        sys.stdout.write(f"\n{MARK}exit {code}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    run(json.loads(sys.stdin.read()))
