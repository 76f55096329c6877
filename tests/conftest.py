"""Rules of every test: shapes are checked at run time, one thread, fixed seeds, no deadline."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook
from xdist.scheduler import LoadScopeScheduling

# Before any test imports them: in these, each annotated signature is checked at every call. (Left out are
# modules whose methods return `Self`, which the checker cannot follow from outside a class.)
CHECKED = (
    "batches.prefetch",
    "batches.photometric",
    "batches.resizing",
    "batches.sampling",
    "batches.transforms",
    "checkpoints",
    "clip",
    "data.index",
    "data.pictures",
    "data.polygons",
    "data.run_lengths",
    "data.sources",
    "datasets",
    "inference",
    "labels.label_views",
    "losses",
    "mini",
    "model",
    "parallel",
    "predictor",
    "profile",
    "released.weights",
    "render.colours",
    "render.visualise",
    "evaluation",
    "scoring",
    "train",
)
install_import_hook([f"cascade_core.{module}" for module in CHECKED], "beartype.beartype")

# The same examples on every machine, however slow.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")


class SharedSetUp(LoadScopeScheduling):
    """Give one worker all tests of a file, and one worker all tests of the workflow run, to share their fixtures."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "workflow" if file.startswith("tests/workflow/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedSetUp:
    """Group tests by shared fixtures; xdist's own groups fail with some versions of pytest."""
    return SharedSetUp(config, log)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Make results independent of the number of cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep cached files out of the machine's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CASCADE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def untracked() -> Iterator[None]:
    """Record no MLflow runs, except in tests that take a store, which unset this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CASCADE_TRACKING", "off")
        yield


@pytest.fixture(scope="session")
def _empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make MLflow's tables once, which takes seconds; tests copy the file."""
    from components.tracking.store import open_store

    file = tmp_path_factory.mktemp("empty_store") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
        open_store()
    return file


@pytest.fixture
def store(_empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in a folder whose default store is empty."""
    folder = tmp_path / "work"
    (folder / "mlruns").mkdir(parents=True)
    shutil.copyfile(_empty_store, folder / "mlruns" / "mlflow.db")
    monkeypatch.chdir(folder)
    for variable in ("MLFLOW_TRACKING_URI", "CASCADE_TRACKING", "CASCADE_PARENT_RUN"):
        monkeypatch.delenv(variable, raising=False)
    return folder
