"""The GPU kernel against the published loss: in Triton's interpreter on a CPU, and compiled on a GPU."""

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

pytest.importorskip("triton", reason="Triton exists on Linux only")

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


def _case(name: str) -> tuple[Tensor, Tensor, LossConfig, tuple[int, int]]:
    grid, size, classes, dtype, config = CASES[name]
    logits, labels = case(grid, size, classes=classes, seed=len(name))
    return logits.detach().to(dtype), labels, config, size


def _assert_published(results: dict[str, Tensor], name: str) -> None:
    """Compare with the published loss of the same logits in double precision."""
    logits, labels, config, size = _case(name)
    exact = logits.double().requires_grad_()
    published = upsampled_whole(exact, labels, config, mask_size=size)
    (gradient,) = torch.autograd.grad(sum(published.values()), exact)
    for part, term in published.items():
        torch.testing.assert_close(results[part], term.float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(results["without_gradient"], results["focal"] + results["dice"])
    assert results["gradient"].dtype == logits.dtype
    close = {"rtol": 1e-5, "atol": 1e-6} if logits.dtype == SINGLE else {"rtol": 0.01, "atol": 1e-6}
    torch.testing.assert_close(results["gradient"].double(), gradient, **close)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("interpreted")
    cases = [_case(name) for name in CASES]
    torch.save(
        [
            {"logits": logits, "labels": labels, "config": config.model_dump(), "size": size}
            for logits, labels, config, size in cases
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
            "results.pt",
        ],
        cwd=folder,
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(Path(__file__).parents[3])},
        check=True,
    )
    return dict(zip(CASES, torch.load(folder / "results.pt"), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_the_interpreted_kernel_gives_the_published_loss(
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
    """A driver that describes a Hopper GPU to Triton's compiler."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> object:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)


@pytest.mark.parametrize("name", ["no multiple of the grid", "one cell and class", "in half precision"])
def test_the_kernel_compiles_for_the_arguments_of_a_launch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton specialises arguments of 1 and reads options among the arguments; only the launch is left out."""
    from triton.runtime import driver

    from cascade_core.losses import pixel_sums
    from cascade_core.losses.triton_kernels import _sum_up

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(driver, "_active", _Hopper())
    # A fresh cache, so that a real GPU does not get the kernels that are compiled here.
    monkeypatch.setattr(_sum_up, "device_caches", defaultdict(_sum_up.create_binder))
    run, compiled = _sum_up.run, []

    def without_launch(*args: object, grid: tuple[int, int], warmup: bool, **named: object) -> None:
        compiled.append(run(*args, grid=grid, warmup=True, **named))

    monkeypatch.setattr(_sum_up, "run", without_launch)
    monkeypatch.setattr(pixel_sums, "_kernel_applies", lambda logits, *, in_one_step: in_one_step)
    logits, labels, config, size = _case(name)
    segmentation_loss(logits.requires_grad_(), labels, config, mask_size=size).total.backward()
    assert compiled[0].asm["cubin"]
    assert compiled[0].metadata.enable_fp_fusion


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", CASES)
def test_on_a_gpu_the_kernel_gives_the_published_loss_repeatably(
    name: str,
) -> None:
    logits, labels, config, size = _case(name)
    runs = []
    for _ in range(2):
        on_gpu = logits.cuda().requires_grad_()
        loss = segmentation_loss(on_gpu, labels.cuda(), config, mask_size=size)
        loss.total.backward()
        with torch.no_grad():
            without = segmentation_loss(on_gpu, labels.cuda(), config, mask_size=size).total
        results = {**loss.terms, "gradient": on_gpu.grad, "without_gradient": without}
        runs.append({part: value.detach().cpu() for part, value in results.items()})
    _assert_published(runs[0], name)
    assert all(torch.equal(runs[0][part], again) for part, again in runs[1].items())
