"""The speed of large matrix products, the limit of what a model can reach: `python -m benchmarks.matrix_peak`.

Benchmarks measure it in their own run, in turns with what they compare, because it depends on the machine's load.
"""

from collections.abc import Callable

import torch

from benchmarks.machine import NO_BF16, has_bf16, surroundings
from benchmarks.stopwatch import in_turns
from cascade_core.configs.config import Precision

SIDES = {"cpu": 2048, "cuda": 8192}
"""Sides of the square matrices by type of device: large enough that a product reaches the peak."""
PRODUCTS = {"cpu": 4, "cuda": 20}
"""Products of one call by type of device, so that a call takes long enough to time."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def products(precision: Precision, device: torch.device | None = None) -> tuple[Callable[[], object], float]:
    """Return a function that multiplies large matrices, and the operations of a call; a multiply-add is two."""
    device = device or torch.device("cpu")
    side, number = SIDES[device.type], PRODUCTS[device.type]
    left, right = (torch.randn(side, side, device=device).to(DTYPES[precision]) for _ in range(2))
    out = torch.empty_like(left)

    def multiply() -> None:
        for _ in range(number):
            torch.matmul(left, right, out=out)

    return multiply, 2.0 * number * side**3


def main() -> None:
    print(surroundings())
    precisions: tuple[Precision, ...] = ("fp32", "bf16") if has_bf16() else ("fp32",)
    calls = [products(precision) for precision in precisions]
    for precision, seconds, (_, operations) in zip(
        precisions, in_turns([call for call, _ in calls], rounds=5), calls, strict=True
    ):
        print(f"{precision}: {operations / seconds / 1e9:,.0f} GFLOP/s")
    if not has_bf16():
        print(f"bf16: {NO_BF16}")


if __name__ == "__main__":
    main()
