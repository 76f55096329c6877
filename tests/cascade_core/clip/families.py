"""Small CLIPs of each published family, with the same layout and activation but few weights."""

import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from cascade_core.clip.weights import ClipModel
from cascade_core.configs.model import ClipConfig
from tests.cascade_core.clip.reference import open_clip_model

VIT_B16 = ClipConfig(
    name="ViT-B-16 in small",
    image_size=64,
    patch_size=16,
    width=64,
    layers=3,
    heads=1,
    embed_dim=32,
    text_width=64,
    text_layers=2,
    text_heads=1,
    context_length=9,
    vocab_size=40,
)
VIT_B32 = VIT_B16.model_copy(update={"name": "ViT-B-32 in small", "patch_size": 32, "image_size": 96})
VIT_L14 = VIT_B16.model_copy(
    update={
        "name": "ViT-L-14 in small",
        "patch_size": 14,
        "image_size": 56,
        "width": 128,
        "heads": 2,
        "layers": 6,
        "embed_dim": 48,
    }
)
VIT_H14 = VIT_L14.model_copy(update={"name": "ViT-H-14 in small", "width": 160, "activation": "gelu"})
"""Its heads have width 80, which shapes do not show."""

VIT_G14 = VIT_L14.model_copy(
    update={"name": "ViT-bigG-14 in small", "activation": "gelu", "image_feedforward": 630}
)
"""Its perceptrons are not 4 times as wide as the tower."""

FAMILIES = (
    VIT_G14,
    VIT_B16,
    VIT_B32,
    VIT_L14,
    VIT_H14,
    VIT_B32.model_copy(update={"activation": "gelu", "name": "ViT-B-32 of LAION in small"}),
)


def random_weights(config: ClipConfig) -> dict[str, Tensor]:
    """Return the state dict of open_clip's model of a configuration, with random norms and biases too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        state = open_clip_model(config).state_dict()
        return {
            key: tensor + 0.1 * torch.randn_like(tensor) if key != "attn_mask" else tensor
            for key, tensor in state.items()
        }


def openai_weights(config: ClipConfig) -> dict[str, Tensor]:
    """Return the random weights of our own CLIP in OpenAI's key layout, without open_clip, which is slow to import."""
    named = {key.removeprefix("text."): tensor for key, tensor in ClipModel(config).state_dict().items()}
    return {key.replace("blocks.", "transformer.resblocks."): tensor for key, tensor in named.items()}


class _Node(nn.Module):
    """A node of the module tree that dotted weight names describe, as in OpenAI's archives."""


def write_scripted(path: Path, weights: dict[str, Tensor]) -> None:
    """Write weights as in OpenAI's archives: a traced module tree that also holds scalars."""
    root = _Node()
    for key, tensor in weights.items():
        *parents, leaf = key.split(".")
        node = root
        for parent in parents:
            if not hasattr(node, parent):
                node.add_module(parent, _Node())
            node = getattr(node, parent)
        node.register_buffer(leaf, tensor)
    root.register_buffer("input_resolution", torch.tensor(64))
    root.forward = lambda x: x * 1.702
    with io.BytesIO() as content, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch deprecates torch.jit, but OpenAI's files stay
        torch.jit.save(torch.jit.trace(root, torch.zeros(1), check_trace=False), content)
        path.write_bytes(content.getvalue())
