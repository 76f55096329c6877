"""A segmentor: trunk, decoder and upsampling. Its weights know no class: the caller passes the text vectors."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cascade_core.clip.text import TextTransformer
from cascade_core.configs.model import ModelConfig
from cascade_core.errors import UserError
from cascade_core.model.decoder import Decoder
from cascade_core.model.queries import ClassVectors, PreparedClasses
from cascade_core.model.trunk import Trunk, TrunkFeatures

Images = Float[Tensor, "batch 3 height width"]
GridLogits = Float[Tensor, "batch classes grid_height grid_width"]
Masks = Float[Tensor, "batch classes mask_height mask_width"]

Classes = ClassVectors | PreparedClasses
"""Text vectors, or the result of `Segmentor.prepare` for them."""


class Segmentor(nn.Module):
    """Computes mask logits of pictures for the classes whose text vectors the caller passes."""

    def __init__(
        self, config: ModelConfig, trunk: Trunk, decoder: Decoder, text: TextTransformer | None = None
    ) -> None:
        """Take the parts; with a text tower, tokens stand for the classes, and their vectors are made in every call."""
        super().__init__()
        self.config = config
        self.trunk = trunk
        self.decoder = decoder
        self.text = text

    @property
    def coupled_classes(self) -> bool:
        """Whether a class's logits depend on the other classes, so that all must come in one call."""
        return self.decoder.coupled_classes

    @property
    def cells_per_patch(self) -> int:
        """Number of cells of the grid of logits along the side of a patch."""
        return self.decoder.cells_per_patch

    def grid_of(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of the grid of logits for pictures of `image_size`."""
        patch, cells = self.config.clip.patch_size, self.cells_per_patch
        return image_size[0] // patch * cells, image_size[1] // patch * cells

    def grid_logits(self, images: Images, classes: Classes) -> GridLogits:
        """Return mask logits on the decoder's grid.

        Raises:
            UserError: as `check`.
        """
        self.check(classes)
        return self.decode(self.trunk(images), classes)

    def training_maps(self, images: Images, classes: Classes) -> tuple[GridLogits, ...]:
        """Return the mask logits on the decoder's grid whose losses training adds; the decoder merges them for inference.

        Raises:
            UserError: as `check`.
        """
        self.check(classes)
        features, encoded = self.trunk(images), self._encoded(classes)
        return tuple(self._on_grid(maps, features) for maps in self.decoder.training_maps(features, encoded))

    def prepare(self, class_vectors: ClassVectors) -> PreparedClasses:
        """Precompute the decoder's text half, for many calls with the same classes.

        The result is valid until the weights change. It carries gradients, except under `torch.no_grad`.

        Raises:
            UserError: as `check`.
        """
        self.check(class_vectors)
        self.check_ids(class_vectors)
        encoded = self._encoded(class_vectors)
        assert isinstance(encoded, Tensor)
        return self.decoder.prepare(encoded)

    def check_ids(self, classes: ClassVectors) -> None:
        """Check that the text tower, if the model has one, knows all tokens.

        Raises:
            UserError: an id is none of its vocabulary's.
        """
        size = self.config.clip.vocab_size
        if self.text is not None and not bool(((classes >= 0) & (classes < size)).all()):
            raise UserError(
                f"the tokens of the classes are not ids of CLIP {self.config.clip.name!r}, which has {size:,}; make them "
                "by text-vectors with the CLIP of this model"
            )

    def _encoded(self, classes: Classes) -> Float[Tensor, "classes ..."] | PreparedClasses:
        """Return the vectors of classes for which tokens stand; everything else as it is."""
        if self.text is None or isinstance(classes, PreparedClasses):
            return classes
        return self.text.class_embeddings(classes.long())

    def decode(self, features: TrunkFeatures, classes: Classes) -> GridLogits:
        """Return mask logits on the decoder's grid, from the trunk's features; unless coupled, classes may come in parts."""
        return self._on_grid(self.decoder(features, self._encoded(classes)), features)

    def _on_grid(
        self, cell_logits: Float[Tensor, "batch classes cells"], features: TrunkFeatures
    ) -> GridLogits:
        if cell_logits.dtype == torch.bfloat16:
            # Under mixed precision, masks, losses and scores stay in float32.
            cell_logits = cell_logits.float()
        height, width = (side * self.cells_per_patch for side in features.grid)
        return cell_logits.unflatten(-1, (height, width))

    def check(self, classes: Classes) -> None:
        """Check the shape of text vectors.

        Raises:
            UserError: their width is not the model's embedding width, or the model does not read so many axes.
        """
        vectors = classes.vectors if isinstance(classes, PreparedClasses) else classes
        clip, form = self.config.clip, self.config.text
        width, by_template = clip.embed_dim, self.config.reads_templates
        if form == "tokens":
            # Prepared classes are encoded already.
            by_template = not isinstance(classes, PreparedClasses)
            width = clip.context_length if by_template else width
        if vectors.ndim != 2 + by_template or vectors.shape[-1] != width:
            expected = f"[classes, {'templates, ' if by_template else ''}{width}]"
            raise UserError(
                f"class vectors have shape {tuple(vectors.shape)}, expected {expected}; make them with this model's "
                "recipe and CLIP"
            )

    def forward(self, images: Images, classes: Classes) -> Masks:
        """Return mask logits, bilinearly upsampled to `mask_size`."""
        height, width = images.shape[-2:]
        return self.to_mask_size(self.grid_logits(images, classes), (height, width))

    def to_mask_size(self, grid_logits: GridLogits, image_size: tuple[int, int]) -> Masks:
        """Upsample logits of the decoder's grid bilinearly to `mask_size`."""
        size = self.mask_size(grid_logits, image_size)
        return F.interpolate(grid_logits, size=size, mode="bilinear", align_corners=False)

    def mask_size(self, grid_logits: GridLogits, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of the upsampled masks for pictures of `image_size`.

        Masks of a square grid get the *configured* picture size, also for inputs of another size (published; scores
        depend on it). Masks of a rectangular grid get the input's size; the released code cannot take such inputs.
        With `mask_size` "input" all masks do, as published for the training-free methods.
        """
        if self.config.mask_size == "input":
            return image_size
        # Arithmetic instead of a branch: in a traced graph the sides are symbols.
        across = grid_logits.shape[-1] - grid_logits.shape[-2]
        square = 1 // (1 + across * across)
        height, width = (square * self.config.image_size + (1 - square) * side for side in image_size)
        return height, width


def trainable_parameter_count(model: nn.Module) -> int:
    """Count the trainable weights as the papers do: including those that never get a gradient."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
