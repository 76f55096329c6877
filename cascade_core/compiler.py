"""What Triton needs wherever it starts a kernel; images for GPUs have it."""

import os
import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path


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
