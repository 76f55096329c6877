"""For any damaged file, a reader returns a value or raises a `UserError`, in time and in little memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability.data_readers import READERS
from tests.reliability.fuzz_data import failures

FEW, MANY = 50, 4_000


@pytest.mark.parametrize("name", READERS)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_gives_a_value_or_a_user_error(name: str) -> None:
    assert not failures(READERS[name], range(FEW), seed=1)


@pytest.mark.reliability
@pytest.mark.parametrize("name", READERS)
def test_thousands_of_damaged_files_do_no_harm(name: str, tmp_path: Path) -> None:
    number = tmp_path / "number"
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability.fuzz_data", name, str(MANY)],
        env={**os.environ, "NUMBER_FILE": str(number), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, f"case {number.read_text()}: {done.stdout[-5000:]}{done.stderr[-5000:]}"
