"""Whether a step may write its output folder: the check comes before the step's work."""

from collections.abc import Iterable
from pathlib import Path

from cascade_core.errors import UserError
from cascade_core.runtime.files import system_errors_as_user_errors
from cascade_core.runtime.targets import MODEL_FOLDER, writable_folder, written_by


def checked_output(out: Path, *, step: str, inputs: Iterable[Path]) -> Path:
    """Return the folder that a step writes for `out`: `out` itself, or the target of that link.

    Raises:
        UserError: `out` is not to be replaced (see `writable_folder`), was written by another step, or contains an
            input of the step.
    """
    with system_errors_as_user_errors(out):
        real = writable_folder(out)
        writer = written_by(real)
        if writer not in (None, step) and not (step == "export" and writer == MODEL_FOLDER):
            raise UserError(
                f"{out} is the folder of {writer}, which {step} does not replace; give another path, or move it away"
            )
        for folder in inputs:
            if writer and folder.resolve().is_relative_to(real.resolve()):
                raise UserError(
                    f"{out} contains {folder}, which {step} reads, and would be replaced; give another path"
                )
    return real
