"""The requirements for starting Triton kernels; GPU images meet them."""

import logging
import os
import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path

log = logging.getLogger(__name__)


def missing_for_triton() -> str | None:
    """Return the missing requirement as text for a message, or None if Triton can start kernels.

    Triton compiles C code, which includes Python's headers, when a kernel first starts.
    """
    if find_spec("triton") is None:
        return "Triton, which torch brings on Linux alone"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "a C compiler for Triton (gcc, clang, or one named by CC)"
    if not Path(sysconfig.get_path("include", "posix_prefix"), "Python.h").is_file():
        return "Python's headers for Triton (Debian: python3-dev)"
    return None


def triton_works(otherwise: str) -> bool:
    """Check that Triton can start kernels; if not, log a warning with the consequence (`otherwise`) and the reason."""
    missing = missing_for_triton()
    if missing is not None:
        log.warning("%s, which needs %s", otherwise, missing)
    return missing is None
