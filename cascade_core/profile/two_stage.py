"""A two-stage baseline for cost comparisons: region proposals, each cropped and classified by CLIP.

ZegCLIP compares its speed with such methods (ZegCLIP section 4): a network proposes class-agnostic masks, and CLIP's
image encoder classifies the picture cropped to each mask. Here the proposals are cheap clusters of colour and position
instead of a network's, so the measured cost is a lower bound.
"""

from math import isqrt

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from cascade_core.clip.vision import VisionTransformer

Image = Float[Tensor, "3 height width"]
Masks = Bool[Tensor, "regions height width"]
Vectors = Float[Tensor, "classes embed"]
Probabilities = Float[Tensor, "regions classes"]
Scores = Float[Tensor, "classes height width"]

PROPOSALS = 100
"""Masks per picture in the methods based on MaskFormer."""
LOGIT_SCALE = 100.0
"""CLIP's trained temperature."""
CROPS_AT_ONCE, ROUNDS = 32, 3


class Regions(nn.Module):
    """k-means over colour and position, started from a grid: `count` masks that partition a picture."""

    def __init__(self, count: int, *, stride: int = 4) -> None:
        super().__init__()
        self.count, self.stride = count, stride

    def forward(self, image: Image) -> Bool[Tensor, "{self.count} height width"]:
        """Return masks; each pixel is in exactly one, and a mask may be empty.

        This clusters every `stride`-th pixel and gives its neighbours the same cluster.
        """
        small = image[:, :: self.stride, :: self.stride]
        labels = self._clusters(small)[None, None].float()
        labels = F.interpolate(labels, size=image.shape[-2:], mode="nearest")[0, 0].long()
        return labels == torch.arange(self.count, device=image.device)[:, None, None]

    def _clusters(self, image: Float[Tensor, "3 rows columns"]) -> Int64[Tensor, "rows columns"]:
        height, width = image.shape[-2:]
        down = max(divisor for divisor in range(1, isqrt(self.count) + 1) if self.count % divisor == 0)
        across = self.count // down
        # The side of a grid cell counts as much as one standard deviation of colour.
        y = (torch.arange(height, device=image.device) + 0.5) * (down / height)
        x = (torch.arange(width, device=image.device) + 0.5) * (across / width)
        places = torch.stack(torch.meshgrid(y, x, indexing="ij"))
        points = torch.cat([image, places]).flatten(1).T
        cells = (places[0].long() * across + places[1].long()).flatten()
        for _ in range(ROUNDS):
            # Compute differences: a matrix product cannot handle infinities.
            distances = torch.cdist(
                points, self._centres(points, cells), compute_mode="donot_use_mm_for_euclid_dist"
            )
            cells = distances.argmin(dim=1)
        return cells.unflatten(0, (height, width))

    def _centres(
        self, points: Float[Tensor, "points 5"], cells: Int64[Tensor, " points"]
    ) -> Float[Tensor, "{self.count} 5"]:
        """Return each cluster's mean; an empty cluster is infinitely far away, so it stays empty."""
        sums = points.new_zeros(self.count, points.shape[1]).index_add_(0, cells, points)
        sizes = torch.bincount(cells, minlength=self.count)
        return torch.where(sizes[:, None] > 0, sums / sizes[:, None], torch.inf)


class RegionCrops(nn.Module):
    """Crop each region to its box, fill the rest with the picture's mean, and resize to CLIP's input."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, image: Image, masks: Masks) -> Float[Tensor, "regions 3 {self.size} {self.size}"]:
        """Return one crop per mask; no mask may be empty. In a normalised picture the mean is zero."""
        # A local import: it takes seconds, and few profiles have two stages.
        from torchvision.ops import masks_to_boxes

        crops = []
        for mask, (left, top, right, bottom) in zip(masks, masks_to_boxes(masks).int().tolist(), strict=True):
            box = (..., slice(top, bottom + 1), slice(left, right + 1))
            crop = (image[box] * mask[box])[None]
            size = (self.size, self.size)
            crops.append(F.interpolate(crop, size=size, mode="bilinear", align_corners=False, antialias=True))
        return torch.cat(crops)


class CropClassifier(nn.Module):
    """CLIP's zero-shot classification of crops."""

    def __init__(self, visual: VisionTransformer) -> None:
        super().__init__()
        self.visual = visual.requires_grad_(False)

    def forward(self, crops: Float[Tensor, "regions 3 side side"], class_vectors: Vectors) -> Probabilities:
        """Return the class probabilities of each crop."""
        embeddings = torch.cat([self.visual.encode_image(part) for part in crops.split(CROPS_AT_ONCE)])
        similarity = F.normalize(embeddings, dim=-1) @ F.normalize(class_vectors, dim=-1).T
        return (LOGIT_SCALE * similarity).softmax(dim=-1)


class JoinedMasks(nn.Module):
    """Score a pixel by the sum of the class probabilities of all masks that contain it."""

    def forward(self, probabilities: Probabilities, masks: Masks) -> Scores:
        return torch.einsum("rc,rhw->chw", probabilities, masks.to(probabilities.dtype))


class TwoStage(nn.Module):
    """Scores a picture region by region, with the inputs and outputs of a `Segmentor`; it has no trainable weights."""

    def __init__(self, visual: VisionTransformer, proposals: nn.Module) -> None:
        super().__init__()
        self.proposals = proposals
        self.crops = RegionCrops(visual.config.image_size)
        self.classifier = CropClassifier(visual)
        self.joined = JoinedMasks()

    def forward(
        self, images: Float[Tensor, "batch 3 height width"], class_vectors: Vectors
    ) -> Float[Tensor, "batch classes height width"]:
        """Return class scores of normalised pictures at their size; pixels without a proposal score zero."""
        return torch.stack([self._scores(image, class_vectors) for image in images])

    def _scores(self, image: Image, class_vectors: Vectors) -> Scores:
        masks = self.proposals(image)
        masks = masks[masks.flatten(1).any(dim=1)]
        if not len(masks):
            return image.new_zeros((len(class_vectors), *image.shape[-2:]))
        return self.joined(self.classifier(self.crops(image, masks), class_vectors), masks)
