"""Run `cascade-clip train` and stop after its first resumable checkpoint. `make.sh` runs this with the old code on the path."""

import sys
from pathlib import Path
from typing import Any

from components import training
from pipelines.cli import app

save = training.save_checkpoint


def save_and_stop(folder: Path, *args: Any, **more: Any) -> None:
    save(folder, *args, **more)
    if folder.name == training.RESUME_FOLDER:
        raise SystemExit(0)


training.save_checkpoint = save_and_stop
app(["train", *sys.argv[1:]])
