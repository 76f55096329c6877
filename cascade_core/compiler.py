"""The C compiler that Triton needs wherever it starts a kernel; images for GPUs have one."""

import os
import shutil


def c_compiler() -> str | None:
    """Return the compiler that Triton finds: the one that CC names, gcc or clang; None where there is none."""
    return os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
