"""`dvc repro` as `cascade-clip run` calls it, in a process of its own: `python -m pipelines.workstation.repro`.

It differs from plain `dvc repro` in three points:

- Stages whose dependencies are complete run side by side.
- Stages read data that `*.dvc` files track as they are; the data are never recorded anew, so no stray file enters the
  store.
- A changed label file makes the stages that read it stale, even if `dvc.yaml` was written for a named protocol and does
  not name the file.

Processes that this one starts import this module; so it imports DVC late.
"""

import logging
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from cascade_core.runtime.cores import usable_cores


def main(words: Sequence[str]) -> int:
    """Run the changed stages among the targets and their dependencies, and return DVC's exit status."""
    from pipelines.workstation.stages import reproduce

    parser = ArgumentParser()
    parser.add_argument("--pull", action="store_true")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--jobs", type=int, default=usable_cores())
    parser.add_argument("targets", nargs="*")
    given = parser.parse_args(words)
    # With a handler of the root logger, DVC's messages would come twice.
    logging.getLogger("pipelines").addHandler(logging.StreamHandler())
    # A shell starts background jobs with SIGINT ignored, and stages would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return reproduce(given.targets, pull=given.pull, force=given.force, jobs=given.jobs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
