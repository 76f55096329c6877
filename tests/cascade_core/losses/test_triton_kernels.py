"""The GPU's kernel against the published loss: by Triton's interpreter here, and as it is where there is a GPU."""

import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cascade_core.configs.config import LossConfig
from cascade_core.losses.focal_dice import segmentation_loss

from .upsampled_whole import CONFIGS, case, upsampled_whole

pytest.importorskip("triton", reason="Triton is there on Linux alone")

SINGLE, HALF = torch.float32, torch.bfloat16
PUBLISHED, LEFT_OUT, OTHER = CONFIGS
# The grid, the labels' size, the number of classes, the type of the logits, and the loss.
CASES = {
    "no multiple of the grid": ((2, 5), (7, 13), 2, SINGLE, PUBLISHED),
    "ignored left out": ((3, 5), (5, 11), 2, SINGLE, LEFT_OUT),
    "another gamma": ((2, 2), (8, 8), 2, SINGLE, OTHER),
    "in half precision": ((2, 4), (6, 9), 2, HALF, PUBLISHED),
    "one cell and class": ((1, 1), (5, 3), 1, SINGLE, LEFT_OUT),
    "smaller than the grid": ((5, 6), (4, 3), 1, SINGLE, OTHER),
    "as large as the grid": ((4, 3), (4, 3), 2, SINGLE, PUBLISHED),
    "wider than a program": ((2, 9), (4, 260), 1, SINGLE, PUBLISHED),
}


def _at_random(seed: int) -> tuple[tuple[int, int], tuple[int, int], int, torch.dtype, LossConfig]:
    draw = random.Random(seed)
    grid, size = ((draw.randint(1, most), draw.randint(1, most)) for most in (4, 8))
    return grid, size, draw.randint(1, 2), (SINGLE, HALF)[seed % 2], CONFIGS[seed % 3]


CASES |= {f"at random, {seed}": _at_random(seed) for seed in range(1, 5)}


def _drawn(name: str) -> tuple[Tensor, Tensor, LossConfig, tuple[int, int]]:
    grid, size, classes, dtype, config = CASES[name]
    logits, labels = case(grid, size, classes=classes, seed=len(name))
    return logits.detach().to(dtype), labels, config, size


def _assert_published(found: dict[str, Tensor], name: str) -> None:
    """Compare with the published loss in double precision of the same numbers."""
    logits, labels, config, size = _drawn(name)
    exact = logits.double().requires_grad_()
    published = upsampled_whole(exact, labels, config, mask_size=size)
    (gradient,) = torch.autograd.grad(sum(published.values()), exact)
    for part, term in published.items():
        torch.testing.assert_close(found[part], term.float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["without_gradient"], found["focal"] + found["dice"])
    assert found["gradient"].dtype == logits.dtype
    close = {"rtol": 1e-5, "atol": 1e-6} if logits.dtype == SINGLE else {"rtol": 0.01, "atol": 1e-6}
    torch.testing.assert_close(found["gradient"].double(), gradient, **close)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("interpreted")
    drawn = [_drawn(name) for name in CASES]
    torch.save(
        [
            {"logits": logits, "labels": labels, "config": config.model_dump(), "size": size}
            for logits, labels, config, size in drawn
        ],
        folder / "cases.pt",
    )
    subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "tests.cascade_core.losses.interpreted",
            "cases.pt",
            "found.pt",
        ],
        cwd=folder,
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(Path(__file__).parents[3])},
        check=True,
    )
    return dict(zip(CASES, torch.load(folder / "found.pt"), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_the_kernel_in_the_interpreter_gives_the_published_loss_and_gradient(
    interpreted: dict[str, dict[str, Tensor]], name: str
) -> None:
    _assert_published(interpreted[name], name)


@pytest.mark.parametrize(
    ("config", "capability", "with_maps"),
    [(PUBLISHED, 90, True), (PUBLISHED, 90, False), (LEFT_OUT, 80, True), (OTHER, 80, True)],
)
def test_the_kernel_compiles_for_a_gpu(
    config: LossConfig, capability: int, with_maps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from cascade_core.losses.triton_kernels import _sum_up

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    fixed = {
        "gamma": config.focal_gamma,
        "ignored": 255,
        "leave_out": not config.ignored_as_negative,
        "with_maps": with_maps,
        "block": 256,
        "chunk": 4,
    }
    pointers = {
        "logits": "*bf16",
        "labels": "*i16",
        "present": "*i8",
        "row_begins": "*i32",
        "column_firsts": "*i32",
    }
    pointers |= dict.fromkeys(("row_weights", "column_weights", "sums", "maps"), "*fp32")
    others = dict.fromkeys(_sum_up.arg_names, "i32") | {"alpha": "fp32"} | dict.fromkeys(fixed, "constexpr")
    compiled = triton.compile(
        ASTSource(_sum_up, others | pointers, fixed),
        target=GPUTarget("cuda", capability, 32),
        options={"enable_fp_fusion": True},
    )
    assert compiled.asm["cubin"]


class _Hopper:
    """What Triton asks of a machine before it compiles a kernel for it."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> object:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)


@pytest.mark.parametrize("name", ["no multiple of the grid", "one cell and class", "in half precision"])
def test_the_kernel_takes_what_it_is_started_with(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton makes constants of ones, and reads options among the arguments: all but the start itself is done."""
    from triton.runtime import driver

    from cascade_core.losses import pixel_sums
    from cascade_core.losses.triton_kernels import _sum_up

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(driver, "_active", _Hopper())
    # Of a GPU that is there, if one is, nothing is to be remembered by what is compiled here.
    monkeypatch.setattr(_sum_up, "device_caches", defaultdict(_sum_up.create_binder))
    run, compiled = _sum_up.run, []

    def not_started(*given: object, grid: tuple[int, int], warmup: bool, **named: object) -> None:
        compiled.append(run(*given, grid=grid, warmup=True, **named))

    monkeypatch.setattr(_sum_up, "run", not_started)
    monkeypatch.setattr(pixel_sums, "_kernel_takes", lambda logits, *, in_one_step: in_one_step)
    logits, labels, config, size = _drawn(name)
    segmentation_loss(logits.requires_grad_(), labels, config, mask_size=size).total.backward()
    assert compiled[0].asm["cubin"]
    assert compiled[0].metadata.enable_fp_fusion


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", CASES)
def test_the_kernel_on_a_gpu_gives_the_published_loss_and_gradient_and_the_same_bits_again(
    name: str,
) -> None:
    logits, labels, config, size = _drawn(name)
    runs = []
    for _ in range(2):
        on_gpu = logits.cuda().requires_grad_()
        loss = segmentation_loss(on_gpu, labels.cuda(), config, mask_size=size)
        loss.total.backward()
        with torch.no_grad():
            without = segmentation_loss(on_gpu, labels.cuda(), config, mask_size=size).total
        found = {**loss.terms, "gradient": on_gpu.grad, "without_gradient": without}
        runs.append({part: value.detach().cpu() for part, value in found.items()})
    _assert_published(runs[0], name)
    assert all(torch.equal(runs[0][part], again) for part, again in runs[1].items())
