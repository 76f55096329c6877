"""The stream of batches: laws under any sizes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_core.batches.sampling import Draw, iteration_batches

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 6), st.integers(1, 3)).filter(
    lambda s: s[0] >= s[1] * s[2]
)


def stream(num: int, batch: int, **options: int) -> list[list[Draw]]:
    return list(iteration_batches(num, batch, **{"iterations": 20, "seed": 3, **options}))


@settings(deadline=None, max_examples=30)
@given(sizes=SIZES, start=st.integers(0, 20))
def test_a_resumed_stream_is_the_rest_of_the_uninterrupted_one(
    sizes: tuple[int, int, int], start: int
) -> None:
    num, batch, world = sizes
    resumed = stream(num, batch, start=start, world_size=world)
    assert resumed == stream(num, batch, world_size=world)[start:]


@settings(deadline=None, max_examples=30)
@given(sizes=SIZES)
def test_an_epoch_draws_no_picture_twice(sizes: tuple[int, int, int]) -> None:
    num, batch, _ = sizes
    per_epoch = num // batch
    batches = stream(num, batch, iterations=per_epoch * 2)
    for epoch in (batches[:per_epoch], batches[per_epoch:]):
        indices = [index for step in epoch for index, _ in step]
        assert len(indices) == len(set(indices)) == per_epoch * batch
        assert set(indices) <= set(range(num))


@settings(deadline=None, max_examples=30)
@given(sizes=SIZES)
def test_processes_share_the_batch_of_one_process(sizes: tuple[int, int, int]) -> None:
    num, batch, world = sizes
    single = stream(num, batch * world)
    parts = [stream(num, batch, rank=rank, world_size=world) for rank in range(world)]
    assert single == [[draw for part in parts for draw in part[i]] for i in range(20)]


@settings(deadline=None, max_examples=30)
@given(sizes=SIZES)
def test_every_draw_has_a_number_of_its_own(sizes: tuple[int, int, int]) -> None:
    num, batch, _ = sizes
    numbers = [draw for step in stream(num, batch) for _, draw in step]
    assert numbers == list(range(20 * batch))


def test_the_length_is_the_iterations_left() -> None:
    assert len(stream(10, 2, start=7)) == 13


def test_another_seed_or_epoch_gives_another_order() -> None:
    first, second = stream(30, 30, iterations=2)
    other, _ = stream(30, 30, iterations=2, seed=4)
    orders = [[index for index, _ in step] for step in (first, second, other)]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_the_incomplete_last_batch_is_dropped() -> None:
    first, second, third = stream(11, 4, iterations=3)
    assert len({index for index, _ in first + second}) == 8 and len(third) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 12}, "10 pictures do not fill one batch of 12 .* at most 10"),
        ({"batch_size": 4, "world_size": 3}, "on 3 processes; lower the batch size to at most 3"),
        ({"num_samples": 0}, "0 pictures do not fill one batch"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_impossible_streams_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        iteration_batches(**{"num_samples": 10, "batch_size": 2, "iterations": 20, "seed": 0, **options})
