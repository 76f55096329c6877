"""Readers of weights, checkpoints, manifests and settings answer damaged files with a value or one sentence."""

import json
import subprocess
import sys

import pytest

from tests.reliability.weight_readers import READERS, ROOT, fuzz

FEW, MANY = 50, 2_000


@pytest.mark.parametrize("name", READERS)
def test_fifty_damaged_files_end_in_a_value_or_a_sentence(name: str) -> None:
    outcome = fuzz(name, FEW)
    assert outcome.cases == FEW and not outcome.defects, "\n".join(outcome.defects)


@pytest.mark.reliability
@pytest.mark.parametrize("name", READERS)
def test_two_thousand_damaged_files_end_the_same_way(name: str) -> None:
    """A process of its own, so that the peak of its memory is that of one reader."""
    command = [sys.executable, "-m", "tests.reliability.weight_readers", name, str(MANY), str(FEW)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=3600)
    assert done.returncode == 0, done.stderr[-2000:]
    outcome = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: {outcome['cases']} cases in {outcome['seconds']} s, {outcome['kinds']}")
    assert outcome["cases"] == MANY and not outcome["defects"], "\n".join(outcome["defects"][:20])
