"""A test checks each tensor and number of the golden sets."""

import importlib
import re
from pathlib import Path

import pytest

from .golden import COVERAGE, SETS, golden_set

# Notes on how a set was made, and tolerances: no test checks them.
NOTES = (
    r"json/(?:method|set|dtype|torch|subsampling)",
    r"json/config/seed",
    r"json/config_fields/.*",
    r"json/trajectory/note",
    r"json/tolerances/.*",
    # Its gradients are not stored; their norms are checked.
    r"json/fp32_vs_fp64_grad_rel/supervised",
)


@pytest.fixture(scope="module", autouse=True)
def all_modules() -> None:
    """Import all tests, so that `COVERAGE` is complete even if only this file runs."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"{__package__}.{path.stem}")


@pytest.mark.parametrize("name", SETS)
def test_a_test_checks_every_stored_tensor_and_number(name: str) -> None:
    patterns = [pattern for (set_name, pattern) in COVERAGE if set_name == name] + list(NOTES)
    forgotten = [key for key in golden_set(name).keys if not any(re.fullmatch(p, key) for p in patterns)]
    assert not forgotten


def test_every_pattern_matches_an_address() -> None:
    """A test whose pattern matches nothing would never run."""
    patterns = {pattern for (_, pattern) in COVERAGE}
    keys = [(name, key) for name in SETS for key in golden_set(name).keys]
    idle = [
        pattern
        for pattern in patterns
        if not any((name, pattern) in COVERAGE and re.fullmatch(pattern, key) for name, key in keys)
    ]
    assert not idle


@pytest.mark.parametrize("name", ["zeg", "cascade"])
@pytest.mark.parametrize(
    "kind",
    [
        "out/backbone/",
        "out/backbone_rect/",
        "out/backbone_nonmult/",
        "out/head/",
        "out/sq2/",
        "out/slide/",
        "out/train_inductive/",
        "out/train_transductive/",
        "grad_inductive/",
        "grad_transductive/",
        "traj_inductive/",
        "json/losses/",
        "json/losses_fp64/",
        "json/grad_norms/supervised/",
    ],
)
def test_a_set_holds_every_kind_of_tensor(name: str, kind: str) -> None:
    """An incomplete set fails instead of passing without cases."""
    assert any(key.startswith(kind) for key in golden_set(name).keys)
