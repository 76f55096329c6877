"""Named tensors: reading from safetensors, and checks of names and shapes before a model is allocated for them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cascade_core.errors import UserError
from cascade_core.runtime.listing import short_list, shortened

Module = TypeVar("Module", bound=nn.Module)

MOST_LISTED = 5


def read_tensors(path: Path, *, prefix: str = "") -> dict[str, Tensor]:
    """Read the tensors of a safetensors file whose names begin with `prefix`.

    The header must match the file's size, so that the reader allocates no more than that.

    Raises:
        UserError: the file is missing, cut short or no safetensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}  # noqa: SIM118
    except (
        Exception
    ) as error:  # safetensors' errors name no file; torch and Python raise others for odd headers
        reason = shortened(str(error))  # which may quote a whole header
        raise UserError(f"{path} cannot be read as safetensors ({reason}); make or fetch it again") from error


def write_half(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors to a safetensors file, floating-point ones in half precision (float16).

    A loaded module casts them back to float32. Rounding changes a weight by at most 1/2048 of its size, or by 3e-8
    near 0.

    Raises:
        UserError: a weight is too large for half precision.
    """
    half = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in weights.items()}
    if wrong := [key for key, tensor in half.items() if not _finite(tensor)]:
        raise UserError(
            f"{path.name}: weights do not fit into half precision, whose largest number is 65504 ({_listed(wrong)}); "
            "write them in full precision"
        )
    save_file({key: tensor.contiguous() for key, tensor in half.items()}, path)


class _ShapesOnly(TorchFunctionMode):
    """Skips the values of new weights on the device `meta`: to compute none, torch would import its compiler, for seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == nn.init.__name__:
            return args[0] if args else (kwargs or {})["tensor"]
        match func:
            case Tensor.normal_ | Tensor.uniform_:
                return args[0]
            case Tensor.mul | Tensor.__mul__ | Tensor.__rmul__ if isinstance(args[1], int | float):
                return args[0]
            case torch.randn:
                func = torch.empty
        return func(*args, **(kwargs or {}))


def fitting(make: Callable[[], Module], weights: Mapping[str, Tensor], *, source: str) -> Module:
    """Make a module and load its weights, after a check of names and shapes that allocates nothing.

    A configuration from elsewhere can describe a model that fits no machine; weights in a file cannot.

    Raises:
        UserError: a weight is missing, unexpected, of another shape or not finite.
    """
    with torch.device("meta"), _ShapesOnly():
        expected = make().state_dict()
    check_fit(expected, weights, source=source)
    check_finite(weights, source=source)
    module = make()
    module.load_state_dict(dict(weights))
    return module


def check_fit(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], *, source: str) -> None:
    """Check names and shapes of weights.

    Raises:
        UserError: a name is missing, unexpected or of another shape; the message starts with `source` and lists them.
    """
    problems = []
    if missing := expected.keys() - given.keys():
        problems.append(f"missing {_listed(sorted(missing))}")
    if unexpected := given.keys() - expected.keys():
        problems.append(f"unexpected {_listed(sorted(unexpected))}")
    wrong = [
        f"{key} has shape {tuple(given[key].shape)}, expected {tuple(expected[key].shape)}"
        for key in sorted(expected.keys() & given.keys())
        if expected[key].shape != given[key].shape
    ]
    if wrong:
        problems.append(_listed(wrong, separator="; "))
    if problems:
        raise UserError(f"{source}: {'; '.join(problems)}")


def check_finite(weights: Mapping[str, Tensor], *, source: str) -> None:
    """Check that every weight is a real number.

    Raises:
        UserError: some are NaN, infinite or complex.
    """
    wrong = [key for key, tensor in weights.items() if tensor.is_complex() or not _finite(tensor)]
    if wrong:
        raise UserError(
            f"{source}: weights hold values that are no numbers ({_listed(wrong)}); a training "
            "failed, or the file was damaged: make or fetch the weights again"
        )


def _listed(names: list[str], *, separator: str = ", ") -> str:
    few = [shortened(name, most=120) for name in names[:MOST_LISTED]]
    return short_list(few + names[MOST_LISTED:], most=MOST_LISTED, separator=separator)


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor.float()).all())
