"""Two torchrun agents, as on two nodes, train the mini recipe like one process with the same global batch.

pytest tests/workflow/test_torchrun.py -m slow
"""

import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from cascade_core.clip.weights import new_clip, save_clip
from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.datasets.mini import TEMPLATES
from cascade_core.mini.voc_layout import write_benchmark
from cascade_core.mini.vocabulary import WORDS
from components.steps import prepare, splits, text_vectors
from pipelines.workstation.workflow import stage_environment

STEPS = 36
PROGRAMS = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Run all steps before training on 40 pictures and a random CLIP."""
    raw = write_benchmark(tmp_path / "raw", sizes={"train": 40, "val": 1, "test": 1})
    save_clip(tmp_path / "clip", new_clip(MINI_CLIP, seed=0), words=list(WORDS))
    prepared = tmp_path / "prepared"
    prepare.run(raw=raw, protocol="mini-18-6", image_sets={"train": "train"}, out=prepared)
    splits.run(prepared=prepared, protocol="mini-18-6", out=tmp_path / "splits")
    text_vectors.run(protocol="mini-18-6", templates=TEMPLATES, clip=tmp_path / "clip", out=tmp_path / "text")
    return tmp_path


def train_command(world: Path, out: Path) -> list[str]:
    overrides = {"train.iterations": STEPS, "train.batch_size": 8, "train.log_every": 1}
    folders = [f"--{name}={world / name}" for name in ("prepared", "splits", "text", "clip")]
    sets = [f"--set={key}={value}" for key, value in overrides.items()]
    program = str(PROGRAMS / "cascade-clip")
    return [program, "train", "--recipe", "mini_cascade_clip", *folders, *sets, "--out", str(out)]


def environment(store: Path) -> dict[str, str]:
    return {
        **stage_environment(),
        "OMP_NUM_THREADS": "1",
        "CASCADE_TRACKING": "on",
        "MLFLOW_TRACKING_URI": f"sqlite:///{store}",
    }


def agent(command: list[str], store: Path, *, port: int) -> subprocess.Popen[bytes]:
    """Start one of two agents that meet at a port; each has one process."""
    where = ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=test"]
    torchrun = [str(PROGRAMS / "torchrun"), "--nnodes=2", "--nproc-per-node=1", "--local-addr=127.0.0.1"]
    return subprocess.Popen([*torchrun, *where, "--no-python", *command], env=environment(store))


@pytest.mark.slow
def test_two_torchrun_agents_have_the_loss_curve_of_one_process(world: Path) -> None:
    subprocess.run(train_command(world, world / "one"), env=environment(world / "one.db"), check=True)
    port = free_port()
    # Each node has its own output and store; only the first process may write.
    agents = [
        agent(train_command(world, world / name), world / f"{name}.db", port=port) for name in ("a", "b")
    ]
    assert [running.wait(timeout=600) for running in agents] == [0, 0]
    (out,) = (folder for folder in (world / "a", world / "b") if folder.exists())
    one, two = (pd.read_csv(folder / "history.csv") for folder in (world / "one", out))
    assert len(two) == STEPS
    pd.testing.assert_frame_equal(one, two, atol=1e-4, rtol=1e-4)
    (store,) = {world / "a.db", world / "b.db"} & set(world.iterdir())
    assert store.stem == out.name
    with sqlite3.connect(store) as connection:
        statuses = connection.execute("select status from runs").fetchall()
        processes = connection.execute("select value from tags where key = 'processes'").fetchall()
    assert (statuses, processes) == ([("FINISHED",)], [("2",)])


@pytest.mark.slow
def test_a_lost_node_ends_the_other_and_leaves_no_output(world: Path) -> None:
    endless = ["--set=train.iterations=1000000", "--set=train.checkpoint_every=2"]
    port = free_port()
    agents = [
        agent([*train_command(world, world / name), *endless], world / f"{name}.db", port=port)
        for name in ("a", "b")
    ]
    began = time.monotonic()
    while not (saved := [*world.glob(".?.unfinished/resume")]):
        assert time.monotonic() - began < 300, "no checkpoint was written"
        time.sleep(0.5)
    leads = ".a.unfinished" in str(saved[0])
    staying, going = agents if leads else reversed(agents)
    node = psutil.Process(going.pid)
    for process in [*node.children(recursive=True), node]:
        process.kill()
    going.wait()
    assert staying.wait(timeout=300) != 0
    assert not (world / "a").exists() and not (world / "b").exists()
    assert saved[0].is_dir()
    with sqlite3.connect(world / f"{'a' if leads else 'b'}.db") as connection:
        assert connection.execute("select status from runs").fetchone()[0] in ("FAILED", "KILLED")
