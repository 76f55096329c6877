"""Where the windows lie over a picture larger than the model's crop."""

from cascade_core.errors import UserError


def window_origins(length: int, crop: int, stride: int) -> tuple[int, ...]:
    """Give where windows start along one side: every `stride`, the last one shifted back inside.

    A side shorter than the crop has one window, of the whole side.

    Raises:
        UserError: a length is not positive, or the stride exceeds the crop, which would leave gaps.
    """
    if min(length, crop, stride) < 1 or stride > crop:
        raise UserError(
            f"length={length}, crop={crop}, stride={stride}: all must be positive and stride at most crop"
        )
    number = max(length - crop + stride - 1, 0) // stride + 1
    return tuple(max(min(i * stride + crop, length) - crop, 0) for i in range(number))
