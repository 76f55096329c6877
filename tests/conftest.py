"""What holds in every test: shapes are checked as the package runs, one thread, no chance, no deadline."""

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# Before any test imports them: in these, each annotated signature is checked at every call. (Left out are
# modules whose methods return `Self`, which the checker cannot follow from outside a class.)
CHECKED = (
    "clip",
    "data.index",
    "data.pictures",
    "data.sampling",
    "data.transforms",
    "evaluate",
    "labels",
    "losses",
    "mini",
    "model",
    "predict",
    "profile",
    "train",
    "visualise",
)
install_import_hook([f"cascade_core.{module}" for module in CHECKED], "beartype.beartype")

# The same examples on every machine, however slow.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Keep numbers independent of how many cores a machine has."""
    torch.set_num_threads(1)
