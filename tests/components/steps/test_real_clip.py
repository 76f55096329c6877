"""Real CLIP weights, where they are: their text vectors are those that the authors ship."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from cascade_core.configs.templates import SINGLE_TEMPLATE
from cascade_core.datasets.catalogue import protocol
from components.steps import text_vectors
from components.vectors import vector_files

FOLDER, VECTORS = (os.environ.get(name) for name in ("CASCADE_CLIP_VIT_B16", "CASCADE_VOC_VECTORS"))


@pytest.mark.real_data
@pytest.mark.skipif(
    not (FOLDER and VECTORS),
    reason="CASCADE_CLIP_VIT_B16 (CLIP folder) or CASCADE_VOC_VECTORS (.npy) is not set",
)
def test_openai_s_vit_b16_gives_the_authors_vectors_of_voc(tmp_path: Path) -> None:
    """Another activation, template or order of classes is off by far more than float16 rounds."""
    assert FOLDER and VECTORS
    split = protocol("voc12-15-5")
    text_vectors.run(protocol=split.name, templates=SINGLE_TEMPLATE, clip=Path(FOLDER), out=tmp_path / "text")
    ours = vector_files.read_class_vectors(tmp_path / "text", split)
    theirs = torch.from_numpy(np.load(VECTORS, allow_pickle=False).astype(np.float32))
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)
