"""The two-stage baseline that one-stage methods are held against: region proposals, each cropped and shown to CLIP.

So do the methods that ZegCLIP compares its speed with (ZegCLIP section 4): class-agnostic masks from a network of
their own, the picture cropped to each mask, CLIP's image encoder on every crop. Here the proposals are cheap
clusters of colour and position instead of a learned network's, whose cost comes on top: what is measured of this
baseline is a lower bound.
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
"""Masks of a picture, as in the methods on MaskFormer."""
LOGIT_SCALE = 100.0
"""CLIP's temperature, as trained."""
CROPS_AT_ONCE, ROUNDS = 32, 3


class Regions(nn.Module):
    """k-means over colour and position, started from a grid: `count` class-agnostic masks that share out a picture."""

    def __init__(self, count: int, *, stride: int = 4) -> None:
        super().__init__()
        self.count, self.stride = count, stride

    def forward(self, image: Image) -> Bool[Tensor, "{self.count} height width"]:
        """Return masks of which each pixel is in exactly one; a mask may be empty.

        Every `stride`-th pixel is clustered, and its neighbours go with it.
        """
        small = image[:, :: self.stride, :: self.stride]
        labels = self._clusters(small)[None, None].float()
        labels = F.interpolate(labels, size=image.shape[-2:], mode="nearest")[0, 0].long()
        return labels == torch.arange(self.count, device=image.device)[:, None, None]

    def _clusters(self, image: Float[Tensor, "3 rows columns"]) -> Int64[Tensor, "rows columns"]:
        height, width = image.shape[-2:]
        down = max(divisor for divisor in range(1, isqrt(self.count) + 1) if self.count % divisor == 0)
        across = self.count // down
        # One cell of the grid is as far as one standard deviation of colour.
        y = (torch.arange(height, device=image.device) + 0.5) * (down / height)
        x = (torch.arange(width, device=image.device) + 0.5) * (across / width)
        places = torch.stack(torch.meshgrid(y, x, indexing="ij"))
        points = torch.cat([image, places]).flatten(1).T
        cells = (places[0].long() * across + places[1].long()).flatten()
        for _ in range(ROUNDS):
            # By differences: infinities make no sense in a matrix product.
            far = torch.cdist(
                points, self._centres(points, cells), compute_mode="donot_use_mm_for_euclid_dist"
            )
            cells = far.argmin(dim=1)
        return cells.unflatten(0, (height, width))

    def _centres(
        self, points: Float[Tensor, "points 5"], cells: Int64[Tensor, " points"]
    ) -> Float[Tensor, "{self.count} 5"]:
        """Return each cluster's mean; an empty one lies infinitely far, so that it stays empty."""
        sums = points.new_zeros(self.count, points.shape[1]).index_add_(0, cells, points)
        sizes = torch.bincount(cells, minlength=self.count)
        return torch.where(sizes[:, None] > 0, sums / sizes[:, None], torch.inf)


class RegionCrops(nn.Module):
    """Each region on its own: the picture's mean around it, cut to its box, resized to CLIP's input."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, image: Image, masks: Masks) -> Float[Tensor, "regions 3 {self.size} {self.size}"]:
        """Return one crop a mask, none of which may be empty; in a normalised picture the mean is zero."""
        # Here, since importing it takes seconds, and few profiles have two stages.
        from torchvision.ops import masks_to_boxes

        crops = []
        for mask, (left, top, right, bottom) in zip(masks, masks_to_boxes(masks).int().tolist(), strict=True):
            box = (..., slice(top, bottom + 1), slice(left, right + 1))
            crop = (image[box] * mask[box])[None]
            size = (self.size, self.size)
            crops.append(F.interpolate(crop, size=size, mode="bilinear", align_corners=False, antialias=True))
        return torch.cat(crops)


class CropClassifier(nn.Module):
    """CLIP's own zero-shot classification, of crops."""

    def __init__(self, visual: VisionTransformer) -> None:
        super().__init__()
        self.visual = visual.requires_grad_(False)

    def forward(self, crops: Float[Tensor, "regions 3 side side"], class_vectors: Vectors) -> Probabilities:
        """Return each crop's probabilities of the classes."""
        embeddings = torch.cat([self.visual.encode_image(few) for few in crops.split(CROPS_AT_ONCE)])
        similarity = F.normalize(embeddings, dim=-1) @ F.normalize(class_vectors, dim=-1).T
        return (LOGIT_SCALE * similarity).softmax(dim=-1)


class JoinedMasks(nn.Module):
    """A pixel's score of a class: the sum, over the masks that hold it, of their probabilities of the class."""

    def forward(self, probabilities: Probabilities, masks: Masks) -> Scores:
        return torch.einsum("rc,rhw->chw", probabilities, masks.to(probabilities.dtype))


class TwoStage(nn.Module):
    """Labels a picture region by region, with the inputs and outputs of a `Segmentor`; nothing of it trains."""

    def __init__(self, visual: VisionTransformer, proposals: nn.Module) -> None:
        super().__init__()
        self.proposals = proposals
        self.crops = RegionCrops(visual.config.image_size)
        self.classifier = CropClassifier(visual)
        self.joined = JoinedMasks()

    def forward(
        self, images: Float[Tensor, "batch 3 height width"], class_vectors: Vectors
    ) -> Float[Tensor, "batch classes height width"]:
        """Return class scores of normalised pictures, at their size; zero where no proposal lies."""
        return torch.stack([self._scores(image, class_vectors) for image in images])

    def _scores(self, image: Image, class_vectors: Vectors) -> Scores:
        masks = self.proposals(image)
        masks = masks[masks.flatten(1).any(dim=1)]
        if not len(masks):
            return image.new_zeros((len(class_vectors), *image.shape[-2:]))
        return self.joined(self.classifier(self.crops(image, masks), class_vectors), masks)
