"""What Triton needs to make kernels for a GPU: the loss's own one, and those of `torch.compile`."""

import os
import shutil
from importlib.util import find_spec


def missing_for_triton() -> str | None:
    """Name what is missing here, for a message; None where Triton can start kernels. Images for GPUs have all."""
    if find_spec("triton") is None:
        return "Triton, which torch brings on Linux alone"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "a C compiler for Triton (gcc, clang, or one named by CC)"
    return None
