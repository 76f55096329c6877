"""What Triton needs wherever it starts a kernel; images for GPUs have it."""

import logging
import os
import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path

log = logging.getLogger(__name__)


def missing_for_triton() -> str | None:
    """Name what is missing here, for a message; None where Triton can start kernels.

    It compiles a little C at each kernel's first start. All of that includes Python's headers, which Debian has in a
    package apart (`python3-dev`).
    """
    if find_spec("triton") is None:
        return "Triton, which torch brings on Linux alone"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "a C compiler for Triton (gcc, clang, or one named by CC)"
    if not Path(sysconfig.get_path("include", "posix_prefix"), "Python.h").is_file():
        return "Python's headers for Triton (Debian: python3-dev)"
    return None


def triton_works(otherwise: str) -> bool:
    """Say whether Triton can start kernels; where it cannot, warn what happens `otherwise`, and why."""
    missing = missing_for_triton()
    if missing is not None:
        log.warning("%s, which needs %s", otherwise, missing)
    return missing is None
