"""SPT-SEG's spectral prompt: a learned filter over the frequencies of the patch map (Xu et al. 2024)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cascade_core.runtime.autocast import in_float32

INIT_STD = 0.02


class SpectralPrompt(nn.Module):
    """Filters the patches, weighted by the CLS token, along the two axes of their grid.

    One complex filter has a value for each frequency of the configured grid and each channel. Other grids get values
    interpolated between its frequencies (our choice: the released code takes one picture size only).
    """

    fixed_size = True

    def __init__(self, *, side: int, width: int) -> None:
        super().__init__()
        self.side = side
        # The last axis holds real and imaginary parts, as optimizers and files of weights want real numbers.
        self.filter = nn.Parameter(INIT_STD * torch.randn(side, side // 2 + 1, width, 2))

    def forward(
        self, tokens: Float[Tensor, "batch tokens width"], grid: tuple[int, int]
    ) -> Float[Tensor, "batch tokens width"]:
        """Return the tokens, CLS first, with the filtered map added to the patches.

        Transforms run in float32 and are orthonormal: F^-1(K * F(patches * CLS)).
        """
        height, width = grid
        cls, patches = tokens[:, :1], tokens[:, 1:]
        weighted = (patches * cls).float().unflatten(1, grid)
        with in_float32(tokens.device):
            spectrum = torch.fft.rfft2(weighted, dim=(1, 2), norm="ortho")
            spectrum = spectrum * torch.view_as_complex(self.at(grid))
            filtered = torch.fft.irfft2(spectrum, s=(height, width), dim=(1, 2), norm="ortho")
        return torch.cat([cls, patches + filtered.flatten(1, 2).to(tokens.dtype)], dim=1)

    def at(self, grid: tuple[int, int]) -> Float[Tensor, "height half_width channels 2"]:
        """Return the filter at the frequencies of a grid."""
        height, width = grid
        if grid == (self.side, self.side):
            return self.filter
        down = torch.fft.fftfreq(height, device=self.filter.device) * self.side
        across = torch.fft.rfftfreq(width, device=self.filter.device) * self.side
        # Downwards frequencies wrap around. Across, only the not negative ones are kept.
        values = _between(self.filter, down, wraps=True)
        return _between(values.transpose(0, 1), across, wraps=False).transpose(0, 1).contiguous()


def _between(
    values: Float[Tensor, "places ..."], positions: Float[Tensor, " count"], *, wraps: bool
) -> Float[Tensor, "count ..."]:
    """Interpolate linearly along the first axis at positions counted in places."""
    count, lower = len(values), positions.floor()
    share = (positions - lower).reshape(-1, *[1] * (values.ndim - 1))
    first = lower.long()
    ends = (first, first + 1)
    before, after = (
        values[end.remainder(count)] if wraps else values[end.clamp(max=count - 1)] for end in ends
    )
    return before + share * (after - before)
