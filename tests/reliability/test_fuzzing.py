"""For any damaged file, each reader returns a value or raises a `UserError`, within the limits of `fuzzing.py`."""

import pytest

from tests.reliability.fuzzing import CASES, READERS, fuzz, fuzz_apart

FEW = 20


@pytest.mark.parametrize("name", READERS)
@pytest.mark.filterwarnings("ignore")
def test_a_few_damaged_files_give_values_or_sentences(name: str) -> None:
    outcome = fuzz(name, FEW)
    assert outcome.cases == FEW and not outcome.defects, "\n".join(outcome.defects)


@pytest.mark.reliability
@pytest.mark.parametrize("name", READERS)
def test_thousands_of_damaged_files_give_values_or_sentences(name: str) -> None:
    outcome, seconds = fuzz_apart(name, CASES, start=FEW)
    print(f"{name}: {outcome.cases} cases in {seconds} s, {dict(outcome.kinds)}, {outcome.slowest:.2f} s")
    assert outcome.cases == CASES and not outcome.defects, "\n".join(outcome.defects[:20])
