"""What holds in every test: tensor shapes are checked as the package runs, and one thread is used."""

import pytest
import torch
from jaxtyping import install_import_hook

# Before any test imports the package: each annotated signature is then checked at every call.
install_import_hook("cascade_core", "beartype.beartype")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Keep results independent of the machine, and leave its other cores to others."""
    torch.set_num_threads(1)
