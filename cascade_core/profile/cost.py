"""The costs of a model that depend on shapes only: its weights and its multiply-adds."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from cascade_core.model.decoder import names_without_gradient
from cascade_core.model.queries import ClassVectors
from cascade_core.model.segmentor import Segmentor, trainable_parameter_count
from cascade_core.profile.meter import METHOD_PARTS, MODULE_PARTS, TRUNK_AND_DECODER, Clock, Patterns, metered

COUNTER = (
    "torch FlopCounterMode: convolutions and matrix products; norms, activations, upsampling not counted"
)


@dataclass(frozen=True)
class Parameters:
    """Numbers of weights; as in the papers, `trainable` includes the `dead` ones, which never get a gradient."""

    total: int
    trainable: int
    dead: int


def parameters(model: nn.Module) -> Parameters:
    """Count the weights of a model."""
    total = sum(parameter.numel() for parameter in model.parameters())
    dead = sum(model.get_parameter(name).numel() for name in names_without_gradient(model))
    return Parameters(total, trainable_parameter_count(model), dead)


def multiply_adds(
    segmentor: Segmentor, *, image_size: int, num_classes: int, num_templates: int = 1
) -> dict[str, float]:
    """Count the multiply-adds of one picture in billions: 'trunk', 'decoder' and 'total'.

    Only a model that reads the vectors of single templates depends on `num_templates`.

    This counts convolutions, linear layers and matrix products, including attention's two, but no norms, activations
    or upsampling. It runs on the meta device. The released code also computes unused values (values and feed-forward
    of the last decoder layer); this project neither computes nor counts them.
    """
    images = torch.empty(1, 3, image_size, image_size, device="meta")
    config = segmentor.config
    templates = (num_templates,) if config.reads_templates else ()
    width = config.clip.context_length if config.text == "tokens" else config.clip.embed_dim
    vectors = torch.empty(num_classes, *templates, width, device="meta")
    parts = multiply_adds_by_part(segmentor, images, vectors, patterns=TRUNK_AND_DECODER, methods=())
    return {"trunk": parts["trunk"], "decoder": parts["decoder"], "total": sum(parts.values())}


@torch.no_grad()
def multiply_adds_by_part(
    model: nn.Module,
    images: Float[Tensor, "batch 3 height width"],
    class_vectors: ClassVectors,
    *,
    patterns: Patterns = MODULE_PARTS,
    methods: Patterns = METHOD_PARTS,
) -> dict[str, float]:
    """Count the multiply-adds of a model's forward pass by part, in billions; the parts sum to the whole.

    Inputs may be on the meta device if the shapes inside the model do not depend on the pictures' content.
    """
    weights = {name: tensor.to(images.device) for name, tensor in model.state_dict().items()}
    with FlopCounterMode(display=False) as counter:
        # The counter counts a multiply-add as two operations.
        clock: Clock = (counter.get_total_flops, lambda begun, ended: (ended - begun) / 2e9)
        with metered(model, clock, patterns, methods) as meter:
            functional_call(model, weights, (images, class_vectors))
    return meter.by_part()
