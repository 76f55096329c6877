"""The options that benchmarks share: cases by method, classes and precision, rounds and threads."""

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Sequence
from typing import get_args

import torch

from benchmarks.cases import METHODS
from cascade_core.configs.config import Precision

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def parser_of(module: str | None, *, rounds: int = 3) -> ArgumentParser:
    """Return a parser with `--rounds` and `--threads`; its description is the first paragraph of a module's docstring."""
    parser = ArgumentParser(description=(module or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds, help="runs of each way; the median counts")
    parser.add_argument("--threads", type=int, help="torch's threads; default: torch's own choice")
    return parser


def add_cases(parser: ArgumentParser, *, methods: Sequence[str], classes: int) -> None:
    """Add the options that choose cases; each takes several values."""
    parser.add_argument("--method", nargs="+", choices=tuple(METHODS), default=list(methods))
    parser.add_argument("--classes", nargs="+", type=int, default=[classes])
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["fp32"])
    parser.add_argument(
        "--memory",
        action=BooleanOptionalAction,
        default=True,
        help="also measure the peak memory of both ways, each in a process of its own",
    )


def parsed(parser: ArgumentParser) -> Namespace:
    """Parse the command line and set torch's threads."""
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    return options
