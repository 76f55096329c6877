"""Checks of this machine: Python, packages, torch and its device, memory and disks. They change nothing."""

import importlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from platformdirs import user_cache_path

from cascade_core.clip.home import clip_home
from cascade_core.runtime.c_compiler import missing_for_triton
from cascade_core.runtime.extras import install_command, requirements
from cascade_core.runtime.formats import PROJECT
from cascade_core.runtime.machine_memory import usable_memory
from cascade_core.runtime.targets import nearest_existing
from components.doctor.finding import Finding
from components.storage.places import CACHE, CACHE_VARIABLE

GIB = 2**30
LEAST_MEMORY, LEAST_DISK, ENOUGH_DISK = 4 * GIB, 1 * GIB, 10 * GIB
"""Less memory or disk is worth a note, and less than `LEAST_DISK` a problem; `make run` with its environment takes 8 GB."""
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
NOT_OF_USERS = ("dev",)


def python() -> Iterator[Finding]:
    """Look at Python and this package."""
    place = Path(__file__).parents[2]
    version = f"{PROJECT} {metadata.version(PROJECT)} in {place}"
    yield Finding("python", "ok", f"Python {platform.python_version()}, {version}")


def packages() -> Iterator[Finding]:
    """Look at which extras are complete, and name the packages that the others lack."""
    needs: dict[str, list[str]] = {}
    for name, extra in requirements():
        if name.lower() != PROJECT:
            needs.setdefault(extra, []).append(name)
    lacking = {extra: [name for name in names if not _is_installed(name)] for extra, names in needs.items()}
    if missing := lacking.pop("", None):
        yield Finding("packages", "problem", f"{', '.join(missing)} are not installed", install_command())
    extras = {extra: names for extra, names in sorted(lacking.items()) if extra not in NOT_OF_USERS}
    if complete := [extra for extra, missing in extras.items() if not missing]:
        yield Finding("packages", "ok", f"installed extras: {', '.join(complete)}")
    for extra, missing in extras.items():
        if missing:
            sentence = f"the extra {extra} is not installed: it lacks {', '.join(missing)}"
            yield Finding("packages", "note", sentence, install_command(extra))


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def device() -> Iterator[Finding]:
    """Look at torch, and the device that commands take without `--device`."""
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:  # OSError: a shared library of the GPU's is not there
        yield Finding("torch", "problem", f"torch cannot be imported ({error})", install_command())
        return
    version = f"torch {torch.__version__}"
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        names = ", ".join(f"{gpu.name} with {gpu.total_memory / GIB:.0f} GiB" for gpu in gpus)
        yield Finding("torch", "ok", f"{version} on cuda: {names}")
        if (missing := missing_for_triton()) is not None:
            sentence = f"training is not compiled, which needs {missing}"
            yield Finding("torch", "note", sentence, f"install {missing}")
        return
    threads = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores"
    if NVIDIA_DRIVER.is_file():
        sentence = f"{version} finds no GPU, though {NVIDIA_DRIVER} says that a driver is there; it computes with {threads}"
        mend = "install a torch for the driver's CUDA version, which nvidia-smi prints; check CUDA_VISIBLE_DEVICES"
        yield Finding("torch", "problem", sentence, mend)
        return
    yield Finding("torch", "ok", f"{version} on the CPU, with {threads}")


def memory() -> Iterator[Finding]:
    """Look at the memory of this machine, or of the container that this process is in."""
    allowed = usable_memory()
    few = allowed < LEAST_MEMORY
    mend = "give the container more, or use --batch 1 and a smaller --short-side" if few else ""
    yield Finding("memory", "note" if few else "ok", f"{allowed / GIB:.1f} GiB", mend)


def disks() -> Iterator[Finding]:
    """Look at the free space of every disk that commands write to, and whether the folders take files."""
    places = {
        "working folder": (Path.cwd(), "work in another folder"),
        "temporary files": (Path(tempfile.gettempdir()), "set TMPDIR to another folder"),
        "imported CLIPs": (clip_home(), "set CASCADE_HOME to another folder"),
        "cache": (
            Path(os.environ.get(CACHE_VARIABLE) or user_cache_path(CACHE, appauthor=False)),
            f"set {CACHE_VARIABLE} to another folder",
        ),
    }
    seen: set[int] = set()
    for use, (folder, elsewhere) in places.items():
        existing = nearest_existing(folder)
        if not os.access(existing, os.W_OK | os.X_OK):
            yield Finding(
                "disk", "problem", f"{use}: {folder} takes no files", f"{elsewhere}, or mend its permissions"
            )
        if existing.stat().st_dev in seen:
            continue
        seen.add(existing.stat().st_dev)
        free = shutil.disk_usage(existing).free
        state = "problem" if free < LEAST_DISK else "note" if free < ENOUGH_DISK else "ok"
        mend = "" if state == "ok" else f"free some space, or {elsewhere}"
        yield Finding("disk", state, f"{use}: {free / GIB:.1f} GiB are free at {existing}", mend)  # type: ignore[arg-type]
