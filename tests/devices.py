"""Where a test runs: on a CPU, and also on a GPU if there is one (`pytest -m gpu`)."""

import pytest
import torch

ON_EACH_DEVICE = pytest.mark.parametrize(
    "device",
    [
        pytest.param(torch.device("cpu"), id="cpu"),
        pytest.param(
            torch.device("cuda"),
            id="cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        ),
    ],
)
