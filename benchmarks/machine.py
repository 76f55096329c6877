"""The machine that a benchmark runs on: processor, threads, load."""

import os
import platform
from datetime import UTC, datetime

import psutil
import torch

from cascade_core.inference.precision import multiplies_bf16
from cascade_core.runtime.cores import processor_name

BF16 = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16", "bf16": "Arm BF16"}
"""Instructions for products of bfloat16 matrices, by their names in torch."""
NO_BF16 = f"not run: the processor has no {' or '.join(BF16.values())}"


def has_bf16() -> bool:
    """Return whether the processor multiplies matrices in bfloat16."""
    return multiplies_bf16(torch.device("cpu"))


def surroundings() -> str:
    """Describe machine, threads, torch version and date."""
    return f"{machine()}, {datetime.now(tz=UTC):%Y-%m-%d}"


def machine() -> str:
    """Describe the processor, threads and torch version."""
    capabilities = torch.cpu.get_capabilities()
    bf16 = [text for key, text in BF16.items() if capabilities.get(key, False)]
    kind = f"{processor_name()} ({', '.join([platform.machine(), *bf16])})"
    return f"{kind}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def load() -> str:
    """Describe the machine's load."""
    return "load over 1, 5, 15 minutes " + ", ".join(f"{mean:.1f}" for mean in psutil.getloadavg())
