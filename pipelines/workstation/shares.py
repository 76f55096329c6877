"""How the stages of a workflow share the cores: how many run at a time, and how many threads each has."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_core.clip.files import WEIGHTS_FILE
from cascade_core.configs.overrides import read_parameters
from cascade_core.runtime.cores import THREADS_VARIABLE, usable_cores
from pipelines.graphs.project import PARAMETERS

SMALL_CLIP = 2**26
"""The most bytes of a CLIP whose tensors are too small for a second thread, such as that of the mini benchmark."""


@dataclass(frozen=True)
class Shares:
    """How many stages run at a time, and how many threads each has."""

    jobs: int
    threads: int


def shares_of_cores(jobs: int | None = None, cores: int | None = None) -> Shares:
    """Share the usable cores among the stages of the project in the working folder.

    With a small CLIP a stage has one thread, whatever the number of stages, so that scores do not depend on the machine.
    With a larger one as many stages run at a time as there are recipes, and share all cores. `jobs` and
    `OMP_NUM_THREADS` in the environment override this.
    """
    cores = usable_cores() if cores is None else cores
    stated = os.environ.get(THREADS_VARIABLE, "")
    if stated.isdigit() and int(stated):
        threads = int(stated)
        return Shares(jobs or max(1, cores // threads), threads)
    parameters: Any = read_parameters(PARAMETERS) if PARAMETERS.is_file() else {}
    weights = Path(str((parameters.get("data") or {}).get("clip", ""))) / WEIGHTS_FILE
    if not weights.is_file() or weights.stat().st_size <= SMALL_CLIP:
        return Shares(jobs or cores, 1)
    jobs = jobs or min(cores, max(1, len(parameters.get("recipes") or ())))
    return Shares(jobs, max(1, cores // jobs))
