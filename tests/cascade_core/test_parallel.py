"""Ranks, shares and replicas; `components/launching/test_processes.py` tests several real processes."""

import os
import signal
import socket
from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.parallel import DistributedDataParallel

from cascade_core import parallel as distributed
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import OptimConfig
from cascade_core.configs.model import ModelConfig
from cascade_core.model.build import build_segmentor
from cascade_core.model.decoder import names_without_gradient
from cascade_core.model.segmentor import Segmentor, trainable_parameter_count
from cascade_core.parallel import (
    World,
    broadcast_start,
    connected,
    device_of,
    mean_over_processes,
    num_processes,
    seed_step,
    world_of,
)
from cascade_core.train.optim import build_optimizer
from cascade_core.train.training_maps import data_parallel
from tests.tiny import TINY_CLIP


@pytest.fixture
def group() -> Iterator[None]:
    """Form a process group of this process only, over gloo."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def cascade() -> Segmentor:
    config = ModelConfig(
        clip=TINY_CLIP,
        image_size=32,
        num_prompts=2,
        fusion="cascade",
        groups=((0,), (1,)),
        decoder_heads=2,
        dropout=0.0,
    )
    return build_segmentor(config, VisionTransformer(TINY_CLIP), seed=0)


@given(world=st.integers(1, 8), accumulation=st.integers(1, 4), share=st.integers(1, 6))
def test_the_shares_of_all_processes_make_up_the_batch(world: int, accumulation: int, share: int) -> None:
    whole = world * accumulation * share
    assert World(rank=world - 1, size=world).share(whole, accumulation) == share


@given(world=st.integers(1, 8), accumulation=st.integers(1, 4), batch=st.integers(1, 60))
def test_an_indivisible_batch_is_refused_with_the_next_that_fits(
    world: int, accumulation: int, batch: int
) -> None:
    group = World(size=world)
    if batch % (world * accumulation) == 0:
        return
    message = rf"self_train.batch_size={batch},.*\({world} processes x {accumulation} acc.*set it to (\d+)"
    with pytest.raises(ValueError, match=message) as raised:
        group.share(batch, accumulation, field="self_train.batch_size")
    larger = int(str(raised.value).split("set it to ")[1].split(",")[0])
    assert batch < larger < batch + world * accumulation + 1
    group.share(larger, accumulation)


def test_without_torchrun_there_is_one_leading_process() -> None:
    assert world_of({"PATH": "/bin", "LOCAL_RANK": "3"}) == World(0, 1)
    assert World().leads


def test_torchrun_variables_give_the_rank() -> None:
    world = world_of({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"})
    assert world == World(rank=5, size=8, local_rank=1, launched=True)
    assert not world.leads


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "0", "WORLD_SIZE": "2"},
        {"WORLD_SIZE": "2"},
        {"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
        {"RANK": "first", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "-1"},
    ],
)
def test_variables_that_do_not_fit_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"the environment has .*WORLD_SIZE=2.*torchrun"):
        world_of(environment)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of(World(1, 2, 1, launched=True)) == torch.device("cuda", 1)
    with pytest.raises(ValueError, match=r"process 3 of this node has no GPU: 2 are visible"):
        device_of(World(2, 3, 2, launched=True))


def test_gradients_of_a_replica_are_those_of_the_model(group: None) -> None:
    plain = cascade()
    copied = deepcopy(plain)
    replica = data_parallel(copied, copied.training_maps)
    pictures, vectors = torch.randn(2, 3, 32, 32), torch.randn(3, 16)
    for model in (plain.training_maps, replica):
        model(pictures, vectors)[0].square().sum().backward()
    for (name, ours), theirs in zip(plain.named_parameters(), copied.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, msg=name)


def test_dead_weights_are_in_the_model_but_not_in_the_replica(group: None) -> None:
    segmentor = cascade()
    count, names = trainable_parameter_count(segmentor), set(segmentor.state_dict())
    replica = data_parallel(segmentor, segmentor.training_maps)
    assert isinstance(replica, DistributedDataParallel)
    assert not replica.find_unused_parameters
    dead = names_without_gradient(segmentor)
    averaged = {name for name, parameter in segmentor.named_parameters() if parameter.requires_grad} - dead
    assert dead
    assert {name.removeprefix("module.segmentor.") for name in _averaged_names(replica)} == averaged
    assert trainable_parameter_count(segmentor) == count
    assert set(segmentor.state_dict()) == names


def _averaged_names(replica: DistributedDataParallel) -> set[str]:
    """Record the weights whose gradients reach the communication hook."""
    reached: set[str] = set()
    names = {id(parameter): name for name, parameter in replica.named_parameters()}

    def record(state: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        reached.update(names[id(parameter)] for parameter in bucket.parameters())
        done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    replica.register_comm_hook(None, record)
    replica(torch.randn(1, 3, 32, 32), torch.randn(3, 16))[0].sum().backward()
    return reached


def test_one_process_needs_no_replica_and_no_mean() -> None:
    segmentor, value = cascade(), torch.tensor(3.0)
    assert data_parallel(segmentor, segmentor.training_maps) == segmentor.training_maps
    assert mean_over_processes(value) is value
    assert num_processes() == 1
    assert broadcast_start(build_optimizer(segmentor, OptimConfig()), 7) == 7


def test_dropout_depends_only_on_seed_and_step() -> None:
    def draw(seed: int, iteration: int) -> float:
        seed_step(seed, iteration)
        return torch.rand(()).item()

    with torch.random.fork_rng(devices=[]):
        first = draw(0, 0)
        torch.rand(3)
        assert draw(0, 0) == first
        assert len({first, draw(0, 1), draw(1, 0), draw(1, 1)}) == 4


def test_each_process_has_its_own_dropout(monkeypatch: pytest.MonkeyPatch, group: None) -> None:
    draws = set()
    with torch.random.fork_rng(devices=[]):
        for rank in (0, 1, 2):
            monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
            seed_step(0, 0)
            draws.add(torch.rand(()).item())
    assert len(draws) == 3


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return the place of a single process that torchrun started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    for name, value in {**variables, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    return world_of(os.environ)


def test_a_stop_signal_leaves_the_block_and_the_group(launched: World) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def stop_inside() -> None:
        with connected(launched, torch.device("cpu")):
            assert dist.is_initialized()
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as raised:
        stop_inside()
    assert raised.value.code == 143
    assert not dist.is_initialized()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (RuntimeError("[.../gloo/transport/tcp/pair.cc:553] Connection closed by peer"), True),
        (dist.DistBackendError("NCCL error"), True),
        (RuntimeError("the size of tensor a must match"), False),
        (ValueError("a picture cannot be read"), False),
    ],
)
def test_only_a_process_that_lost_another_waits(
    launched: World, monkeypatch: pytest.MonkeyPatch, error: Exception, waits: bool
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(distributed.time, "sleep", waited.append)

    def fail() -> None:
        with connected(launched, torch.device("cpu")):
            raise error

    with pytest.raises(type(error)):
        fail()
    assert waited == ([distributed.GRACE_SECONDS] if waits else [])
