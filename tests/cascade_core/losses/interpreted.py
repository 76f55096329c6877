"""Computes the loss of cases in a file with the GPU kernel, in Triton's interpreter on a CPU.

`TRITON_INTERPRET=1 python -m tests.cascade_core.losses.interpreted CASES RESULTS` is a separate process, because
Triton decides at import whether it compiles or interprets.
"""

import sys
from typing import Any

import torch

from cascade_core.configs.config import LossConfig
from cascade_core.losses import pixel_sums
from cascade_core.losses.focal_dice import segmentation_loss


def main(cases_path: str, results_path: str) -> None:
    # The only change: the kernel accepts CPU tensors.
    pixel_sums._kernel_applies = lambda logits, *, in_one_step: in_one_step
    cases = torch.load(cases_path)
    torch.save([_loss_and_gradient(**case) for case in cases], results_path)


def _loss_and_gradient(
    logits: torch.Tensor, labels: torch.Tensor, config: dict[str, Any], size: tuple[int, int]
) -> dict[str, torch.Tensor]:
    logits.requires_grad_()
    loss = segmentation_loss(logits, labels, LossConfig(**config), mask_size=size)
    loss.total.backward()
    with torch.no_grad():
        without = segmentation_loss(logits, labels, LossConfig(**config), mask_size=size).total
    return {
        **{name: term.detach() for name, term in loss.terms.items()},
        "gradient": logits.grad,
        "without_gradient": without,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
