"""Actors of Ray label a shard as one process does; faults of a cluster are one sentence."""

import os
import pickle
import socket
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image
from pyarrow import parquet

from cascade_core.bulk.outcomes import Outcome
from cascade_core.bulk.shards import Shard
from cascade_core.bulk.worker import Request, Worker, decoded
from cascade_core.errors import UserError
from cascade_core.predictor import Predictor
from components.bulk import gather, ray_engine, shard
from components.bulk.ray_engine import Actors, RayWorker, actors_of
from components.bulk.sources import ListedPicture, Store
from pipelines.cli.predict_shards import Engine, engine_of
from tests.components.bulk.listed import LABELS, PICTURES


def node(*, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"Alive": alive, "Resources": resources}


def test_actors_take_the_gpus_or_groups_of_cores() -> None:
    nodes = [node(CPU=8.0, GPU=2.0), node(CPU=16.0, GPU=1.0), node(alive=False, CPU=8.0, GPU=8.0), node()]
    assert actors_of(nodes, device=None, cores=None) == Actors(3, "cuda", 8)
    assert actors_of(nodes, device="cpu", cores=None) == Actors(6, "cpu", 4)
    assert actors_of(nodes, device="cpu", cores=12) == Actors(1, "cpu", 12)
    assert actors_of([node(CPU=2.0)], device=None, cores=None) == Actors(1, "cpu", 2)
    assert actors_of([node(CPU=2.0)], device=None, cores=1) == Actors(2, "cpu", 1)
    with pytest.raises(UserError, match="--device cuda: no machine of the Ray cluster has a GPU"):
        actors_of([node(CPU=2.0)], device="cuda", cores=None)
    with pytest.raises(UserError, match=r"has 4 cores for an actor \(the largest has 2\)"):
        actors_of([node(CPU=2.0), node(CPU=1.0)], device=None, cores=4)
    with pytest.raises(UserError, match=r"has 1 cores for an actor \(the largest has 0\)"):
        actors_of([node()], device=None, cores=None)


def test_an_address_without_a_cluster_is_one_sentence() -> None:
    for address in ("http://head:8265", "ray://head:10001", "head", ":6379", "head:port"):
        with pytest.raises(UserError, match="give HOST:PORT of the cluster's head"):
            ray_engine._check_answer(address)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        ray_engine._check_answer(address)
    with pytest.raises(UserError, match=rf"RAY_ADDRESS={address}: no Ray cluster answers there"):
        ray_engine._check_answer(address)


def test_a_pickled_batch_gives_equal_results(predictor: Predictor, pictures: list[str]) -> None:
    """The two halves that Ray runs, without Ray."""

    def finish(picture: ListedPicture, outcome: Outcome) -> tuple[int, str | None, Any]:
        prediction = getattr(outcome, "prediction", None)
        return picture.position, picture.version, prediction and prediction.areas

    request = Request(tuple(LABELS), batch=2)
    bucket = [ListedPicture(i, pictures[i], Store()) for i in range(8, 16)]
    batches = [pickle.loads(pickle.dumps(batch)) for batch in decoded(bucket, request.batch)]
    moved = pickle.loads(pickle.dumps(predictor))
    moved.move(predictor.device)
    halves = list(Worker(moved, request, finish).finished(batches))
    whole = list(Worker(predictor, request, finish).results([bucket]))
    assert halves == whole and len(whole) == 8 and all(version for _, version, _ in whole)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Ray with two cores, started as the engine starts it."""
    if (
        find_spec("ray") is None
    ):  # The engine decides things before it imports Ray, which `importorskip` would do.
        pytest.skip('needs the extra "ray"')
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("CASCADE_CORES", "2")
        with ray_engine._connected() as package:
            yield package


@pytest.fixture
def run(predictor: Predictor, pictures: list[str]) -> Callable[..., shard.ShardResult]:
    return partial(
        shard.run, predictor=predictor, pictures=pictures, labels=LABELS, shard=Shard(0, 1), batch=2
    )


two_actors = partial(RayWorker, device="cpu", cores=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_two_actors_equal_one_process(
    ray: Any, run: Callable[..., shard.ShardResult], tmp_path: Path, pictures: list[str]
) -> None:
    assert actors_of(ray.nodes(), device="cpu", cores=1) == Actors(2, "cpu", 1)
    one, two = tmp_path / "one", tmp_path / "two"
    run(out=str(one))
    assert run(out=str(two), engine=two_actors) == shard.ShardResult(PICTURES, 0, 1)
    joined = gather.run(str(one))
    assert gather.run(str(two)) == joined
    assert (joined.pictures, joined.failed) == (PICTURES, 1)
    for tar in (one / "label_maps").iterdir():
        assert (two / "label_maps" / tar.name).read_bytes() == tar.read_bytes()
    rows, others = (parquet.read_table(out / gather.TABLE).to_pylist() for out in (one, two))
    for row, other in zip(rows, others, strict=True):
        for values, expected in (
            (other, row),
            *zip(other["classes"] or (), row["classes"] or (), strict=True),
        ):
            assert values.pop("confidence") == pytest.approx(expected.pop("confidence"), abs=1e-4)
        assert other == row
    # What is finished stays; Ray computes the bucket of a changed picture alone.
    Image.new("RGB", (40, 24)).save(pictures[9])
    assert run(out=str(two), engine=two_actors) == shard.ShardResult(PICTURES, PICTURES - 8, 0)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_ray_stays_on_this_machine(ray: Any) -> None:
    assert not ray._common.usage.usage_lib.usage_stats_enabled()
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    addresses = {
        place.ip.removeprefix("::ffff:")
        for process in processes
        for connection in process.net_connections(kind="inet")
        for place in (connection.laddr, connection.raddr)
        if place
    }
    assert addresses == {"127.0.0.1"}


def dies(picture: ListedPicture, outcome: Outcome) -> None:
    os._exit(1)


def refuses(picture: ListedPicture, outcome: Outcome) -> None:
    raise UserError("the store does not answer")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_faults_on_ray_are_one_sentence(
    ray: Any, predictor: Predictor, pictures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.components.bulk import test_ray_engine

    ray.cloudpickle.register_pickle_by_value(test_ray_engine)
    bucket = [ListedPicture(i, pictures[i], Store()) for i in range(2)]
    request = Request(tuple(LABELS), batch=2)
    for finish, message in (
        (refuses, "^the store does not answer$"),
        (dies, "a process of Ray died, and so did 2"),
    ):
        with pytest.raises(UserError, match=message):
            list(RayWorker(predictor, request, finish, device="cpu", cores=1).results([bucket]))
    monkeypatch.setattr(os, "getcwd", lambda: "/nowhere")
    relative = [ListedPicture(0, "photos/00.png", Store())]
    with pytest.raises(UserError, match="has no folder /nowhere, where relative paths of the list begin"):
        list(RayWorker(predictor, request, refuses, device="cpu", cores=1).results([relative]))


def test_ray_takes_a_list_and_a_stated_precision() -> None:
    with pytest.raises(UserError, match="--engine ray computes a table; add --shard 0/1 or --list"):
        engine_of(Engine.ray, None, device=None, precision=None, cores=None)
    with pytest.raises(UserError, match="--precision auto depends on the machine"):
        engine_of(Engine.ray, Shard(0, 1), device=None, precision="auto", cores=None)
    assert engine_of(Engine.local, None, device=None, precision="auto", cores=None) is None
