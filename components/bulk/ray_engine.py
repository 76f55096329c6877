"""The worker of `cascade_core.bulk` on Ray: tasks read and decode, and one actor for each GPU or group of cores labels.

The calling process keeps the plan, the lease and the files of results, as with one process; Ray computes between. It reads a
bucket in one task, so that the batches are those of one process, and the model travels to the actors through Ray's object
store: no other machine needs the model's folder or the results'.
"""

import logging
import os
import pickle
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import pyarrow as pa
import torch

from cascade_core.bulk.outcomes import Outcome
from cascade_core.bulk.worker import Decoded, Request, Worker, decoded
from cascade_core.errors import UserError
from cascade_core.predictor import Predictor
from cascade_core.runtime.cores import usable_cores, use_threads
from cascade_core.runtime.listing import shortened
from components.bulk.sources import ListedPicture, Store
from components.storage.places import in_store

ADDRESS = "RAY_ADDRESS"
TOKEN = "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH=FILE"
CORES = 4
"""Cores of an actor without a GPU, where nobody states them and its machine has as many."""
RESTARTS = 2
"""An actor that dies is started again so often, for a machine that the cluster takes away."""
DEVICES = ("cpu", "cuda")

R = TypeVar("R")


@dataclass(frozen=True)
class Actors:
    """How many actors label pictures, on which kind of device, and the cores of each."""

    number: int
    device: str
    cores: int


def check_available(device: str | None) -> None:
    """Check that Ray is installed, knows this kind of device, and, where RAY_ADDRESS names a cluster, that one answers.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        UserError: RAY_ADDRESS is no address of a cluster, nothing answers there, or actors have no such device.
    """
    _ray()
    if device not in (None, *DEVICES):
        raise UserError(f"device {device!r} is not supported by --engine ray; give {' or '.join(DEVICES)}")
    if address := _cluster():
        _check_answer(address)


@dataclass(frozen=True)
class RayWorker(Generic[R]):
    """Labels buckets of pictures as `Worker` does, by actors of Ray.

    Attributes:
        predictor: the model, on the CPU.
        finish: makes the result of a picture's outcome; it and the results are pickled.
        device: cpu or cuda; None: cuda if the cluster has GPUs.
        cores: cores of an actor without a GPU.
    """

    predictor: Predictor
    request: Request
    finish: Callable[[ListedPicture, Outcome], R]
    device: str | None = None
    cores: int | None = None

    def results(self, buckets: Iterable[Sequence[ListedPicture]]) -> Iterator[R]:
        """Yield the result of every picture, in the order in which the actors come to them.

        Raises:
            UserError: the cluster does not answer or has no fit machine, a process dies again and again, or reading or `finish` has one.
        """
        items = [
            {
                "positions": [picture.position for picture in pictures],
                "addresses": [p.address for p in pictures],
            }
            for pictures in buckets
            if pictures
        ]
        if not items:
            return
        with _connected() as ray, _deaths_as_user_errors(ray):
            actors = actors_of(ray.nodes(), device=self.device, cores=self.cores)
            actors = replace(actors, number=min(actors.number, len(items)))
            with warnings.catch_warnings():
                # Ray 2.60 says that it will take restarts in another way; pyproject.toml has the bound.
                warnings.simplefilter("ignore")
                labelled = self._labelled(ray, items, actors)
            for block in labelled.iter_batches(batch_size=None, batch_format="pyarrow"):
                for item in block.column("result").to_pylist():
                    result = pickle.loads(item)
                    if isinstance(result, UserError):
                        raise result
                    yield result

    def _labelled(self, ray: Any, items: list[dict[str, Any]], actors: Actors) -> Any:
        ray.data.DataContext.get_current().enable_progress_bars = False
        shipped = ray.put((self.predictor, self.request, self.finish, actors))
        on_gpu = actors.device == "cuda"
        return (
            ray.data.from_items(items, override_num_blocks=len(items))
            .map_batches(
                _read,
                fn_kwargs={"batch": self.request.batch, "folder": os.getcwd()},  # noqa: PTH109 (a text)
                batch_size=1,
                batch_format="pyarrow",
                # Without GPUs the actors hold all cores; a task beside them needs few of their time.
                num_cpus=1 if on_gpu else 0,
                compute=ray.data.TaskPoolStrategy(None if on_gpu else min(2 * actors.number, len(items))),
            )
            .map_batches(
                _Actor,
                fn_constructor_args=[shipped],
                batch_size=None,
                batch_format="pyarrow",
                num_cpus=0 if on_gpu else actors.cores,
                num_gpus=1 if on_gpu else 0,
                compute=ray.data.ActorPoolStrategy(size=actors.number),
                max_restarts=RESTARTS,
                max_task_retries=RESTARTS,
            )
        )


def actors_of(nodes: Sequence[dict[str, Any]], *, device: str | None, cores: int | None) -> Actors:
    """Return the actors that the machines of a cluster (`ray.nodes()`) have room for: one a GPU, or one a group of cores.

    Raises:
        UserError: no machine has a GPU, or as many cores.
    """
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = sum(int(item.get("GPU", 0)) for item in resources)
    cpus = [int(item.get("CPU", 0)) for item in resources]
    if device == "cuda" and not gpus:
        raise UserError("--device cuda: no machine of the Ray cluster has a GPU; add one, or give cpu")
    if gpus and device != "cpu":
        return Actors(gpus, "cuda", max(1, sum(cpus) // gpus))
    largest = max(cpus, default=0)
    group = cores or max(1, min(CORES, largest))
    number = sum(count // group for count in cpus)
    if not number:
        raise UserError(
            f"no machine of the Ray cluster has {group} cores for an actor (the largest has {largest}); lower --threads, or "
            "add a machine"
        )
    return Actors(number, "cpu", group)


class _Actor:
    """A model on its device, which labels the batches that tasks decoded."""

    def __init__(self, shipped: Any) -> None:
        import ray

        predictor, request, finish, actors = ray.get(shipped)
        if actors.device == "cpu":
            use_threads(actors.cores)
        predictor.move(torch.device(actors.device))
        self.worker = Worker[Any, Any](predictor, request, finish, threads=actors.cores)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Return the result of each picture; a `UserError` instead ends the run: Ray would lose its kind, and try again."""
        try:
            batches = map(_unless_user_error, rows.column("batch").to_pylist())
            results = [pickle.dumps(result) for result in self.worker.finished(batches)]
        except UserError as error:
            results = [pickle.dumps(error)]
        return _column("result", results)


def _unless_user_error(item: bytes) -> Decoded[ListedPicture]:
    content = pickle.loads(item)
    if isinstance(content, UserError):
        raise content
    return content


def _read(bucket: pa.Table, *, batch: int, folder: str) -> Iterator[pa.Table]:
    """Yield the decoded batches of a bucket, each as one row; a `UserError` is a row, too."""
    try:
        for ready in _decoded(bucket, batch=batch, folder=folder):
            yield _column("batch", [pickle.dumps(ready, protocol=pickle.HIGHEST_PROTOCOL)])
    except UserError as error:
        yield _column("batch", [pickle.dumps(error)])


def _decoded(bucket: pa.Table, *, batch: int, folder: str) -> Iterator[Decoded[ListedPicture]]:
    (item,), store = bucket.to_pylist(), Store()
    pictures = [
        ListedPicture(*pair, store) for pair in zip(item["positions"], item["addresses"], strict=True)
    ]
    if any(_is_relative(picture.address) for picture in pictures):
        # The process is Ray's, and works for this call alone.
        try:
            os.chdir(folder)
        except OSError as error:
            raise UserError(
                f"{socket.gethostname()}: has no folder {folder}, where relative paths of the list begin "
                f"({error.strerror}); give a shared folder, absolute paths or s3:// addresses"
            ) from error
    yield from decoded(pictures, batch)


def _is_relative(address: str) -> bool:
    return not in_store(address) and not os.path.isabs(address)  # noqa: PTH117


def _column(name: str, values: list[bytes]) -> pa.Table:
    return pa.table({name: pa.array(values, pa.large_binary())})


def _ray() -> Any:
    """Import Ray, which reports nothing to its makers, and listens on the loopback alone if it starts here."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not _cluster():
        # Its name is of other systems, its effect here: a machine of this start has the address 127.0.0.1.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # Actors without a GPU see none, as with Ray to come; otherwise it warns.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    import ray.data

    return ray


def _cluster() -> str | None:
    """Return the address of the cluster in RAY_ADDRESS; None: Ray starts on this machine."""
    address = os.environ.get(ADDRESS, "").strip()
    return None if address in ("", "local") else address


def _check_answer(address: str) -> None:
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise UserError(
            f"{ADDRESS} is {address!r}; give HOST:PORT of the cluster's head (its port is 6379 by default) on a machine of "
            "the cluster, or submit the command as a job"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"{ADDRESS}={address}: no Ray cluster answers there ({getattr(error, 'strerror', None) or error}); start one, or "
            f"unset {ADDRESS} for this machine alone"
        ) from error


@contextmanager
def _connected() -> Iterator[Any]:
    """Connect to the cluster of RAY_ADDRESS, or start Ray on this machine; yield the package, and end it afterwards."""
    ray, address = _ray(), _cluster()
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"address": address} if address else _local_options()
    on_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if on_main else None
    try:
        ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises plain ones too, such as for a node that does not start in time
        where = f"{ADDRESS}={address}: " if address else ""
        # Ray's own sentence leaves out that a token is missing or wrong.
        token = f"; if the cluster takes a token, set {TOKEN}" if address else ""
        raise UserError(f"{where}Ray does not start or connect ({shortened(str(error))}){token}") from error
    finally:
        if on_main:
            signal.signal(signal.SIGTERM, handler)  # Ray sets one of its own, which ends with another code.
    for output in logging.getLogger("ray.data").handlers:
        if isinstance(
            output, logging.StreamHandler
        ):  # The command shows its own progress; Ray's files have all.
            output.setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        ray.shutdown()


def _local_options() -> dict[str, Any]:
    return {"address": "local", "num_cpus": usable_cores(), "include_dashboard": False}


@contextmanager
def _deaths_as_user_errors(ray: Any) -> Iterator[None]:
    """Raise the death of an actor, a task's process or a machine as a `UserError`."""
    faults = ray.exceptions
    try:
        yield
    except (
        faults.RayActorError,
        faults.WorkerCrashedError,
        faults.NodeDiedError,
        faults.OutOfMemoryError,
        faults.ObjectLostError,
    ) as error:
        raise UserError(
            f"a process of Ray died, and so did {RESTARTS} in its place ({shortened(str(error))}); finished buckets are kept: "
            "repeat the call, with a smaller --batch or more --threads for an actor if memory was short"
        ) from error
