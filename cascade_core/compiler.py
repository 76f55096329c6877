"""The C compiler that Triton needs wherever it starts a kernel; images for GPUs have one."""

import os
import shutil
import sysconfig
from pathlib import Path


def c_compiler() -> str | None:
    """Return the compiler that Triton finds: the one that CC names, gcc or clang; None where it could compile nothing.

    That is, without a compiler, or without Python's headers, which all that Triton compiles includes and Debian has
    in a package apart (`python3-dev`).
    """
    if not Path(sysconfig.get_path("include", "posix_prefix"), "Python.h").is_file():
        return None
    return os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
