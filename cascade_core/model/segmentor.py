"""A segmentor: trunk, decoder, and masks at picture size. Knows no class: text vectors come with the call."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cascade_core.configs.config import ModelConfig
from cascade_core.errors import UserError
from cascade_core.model.decoder import Decoder
from cascade_core.model.queries import PreparedClasses
from cascade_core.model.trunk import Trunk, TrunkFeatures

Images = Float[Tensor, "batch 3 height width"]
GridLogits = Float[Tensor, "batch classes grid_height grid_width"]
Masks = Float[Tensor, "batch classes mask_height mask_width"]

Classes = Float[Tensor, "classes embed"] | PreparedClasses
"""Text vectors, or what `Segmentor.prepare` made of them."""


class Segmentor(nn.Module):
    """Labels every pixel of a picture with one of the classes whose text vectors it is given."""

    def __init__(self, config: ModelConfig, trunk: Trunk, decoder: Decoder) -> None:
        super().__init__()
        self.config = config
        self.trunk = trunk
        self.decoder = decoder

    def grid_logits(self, images: Images, classes: Classes) -> GridLogits:
        """Return mask logits on the patch grid.

        Raises:
            UserError: the text vectors' width is not the model's embedding width.
        """
        self.check(classes)
        return self.decode(self.trunk(images), classes)

    def prepare(self, class_vectors: Float[Tensor, "classes embed"]) -> PreparedClasses:
        """Return what the decoder computes of `class_vectors` alone, for many calls with the same classes.

        It holds until the weights change, and carries gradients to them unless made under `torch.no_grad`.

        Raises:
            UserError: the text vectors' width is not the model's embedding width.
        """
        self.check(class_vectors)
        return self.decoder.prepare(class_vectors)

    def decode(self, features: TrunkFeatures, classes: Classes) -> GridLogits:
        """Return mask logits on the patch grid of pictures that the trunk has seen.

        A class's logits do not depend on the others', so classes may come in parts.
        """
        patch_logits = self.decoder(features, classes)
        if patch_logits.dtype == torch.bfloat16:
            # Under mixed precision, masks, losses and scores stay in float32.
            patch_logits = patch_logits.float()
        return patch_logits.unflatten(-1, features.grid)

    def check(self, classes: Classes) -> None:
        """See that text vectors are as wide as the model's embedding.

        Raises:
            UserError: they are not.
        """
        vectors = classes.vectors if isinstance(classes, PreparedClasses) else classes
        embed_dim = self.config.clip.embed_dim
        if vectors.ndim != 2 or vectors.shape[1] != embed_dim:
            raise UserError(
                f"class vectors have shape {tuple(vectors.shape)}, expected [classes, {embed_dim}]: "
                "were they made with this model's CLIP?"
            )

    def forward(self, images: Images, classes: Classes) -> Masks:
        """Return mask logits, upsampled bilinearly to `mask_size`."""
        height, width = images.shape[-2:]
        return self.to_mask_size(self.grid_logits(images, classes), (height, width))

    def to_mask_size(self, grid_logits: GridLogits, image_size: tuple[int, int]) -> Masks:
        """Return logits of the patch grid at `mask_size`."""
        size = self.mask_size(grid_logits, image_size)
        return F.interpolate(grid_logits, size=size, mode="bilinear", align_corners=False)

    def mask_size(self, grid_logits: GridLogits, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width that masks of pictures of `image_size` are upsampled to.

        A square grid goes to the *configured* picture size, whatever the input's (published, and
        load-bearing for inputs of another size); a rectangular one, which the released code cannot take,
        to the input's size.
        """
        # By arithmetic: where a graph is traced, sides are symbols, and it could hold no branch on them.
        across = grid_logits.shape[-1] - grid_logits.shape[-2]
        square = 1 // (1 + across * across)
        height, width = (square * self.config.image_size + (1 - square) * side for side in image_size)
        return height, width


def trainable_parameter_count(model: nn.Module) -> int:
    """Count the weights that train, dead ones included, as the papers do."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
