"""Buckets and shards: every picture once, whatever the number of workers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_core.bulk.shards import Shard, batches_of, bucket_ranges, bucket_size
from cascade_core.errors import UserError

COUNTS = st.integers(0, 2000)


@given(COUNTS, st.integers(1, 40), st.integers(1, 9))
def test_shards_share_out_every_picture_once(pictures: int, batch: int, number: int) -> None:
    buckets = bucket_ranges(pictures, bucket_size(pictures, batch))
    parts = [Shard(index, number).buckets(len(buckets)) for index in range(number)]
    positions = [position for part in parts for bucket in part for position in buckets[bucket]]
    assert positions == list(range(pictures))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_bucket_has_room_for_batches_and_grows_with_the_list() -> None:
    assert [bucket_size(pictures, 1) for pictures in (0, 100, 10_000, 10**6)] == [8, 8, 40, 64]
    assert bucket_size(100, 32) == 128


@given(
    st.lists(st.sampled_from([(4, 3), (3, 4), (40, 30), None]), max_size=30),
    st.integers(1, 5),
    st.integers(1, 60),
)
def test_a_batch_has_pictures_of_one_size_within_the_limits(
    sizes: list[tuple[int, int] | None], batch: int, most_pixels: int
) -> None:
    batches = list(batches_of(sizes, batch, most_pixels=most_pixels))
    assert sorted(i for positions in batches for i in positions) == [
        i for i, size in enumerate(sizes) if size is not None
    ]
    for positions in batches:
        ((width, height),) = {sizes[i] for i in positions}
        assert positions == sorted(positions)
        assert len(positions) == 1 or len(positions) <= min(batch, most_pixels // (width * height))


def test_a_shard_is_written_as_its_index_and_the_number() -> None:
    assert Shard.parse("3/4") == Shard(3, 4) and str(Shard(3, 4)) == "3/4"
    for text in ("4/4", "0/0", "1", "-1/4", "1/4/5", "a/4"):
        with pytest.raises(UserError, match="counted from 0: of four shards, the first is 0/4"):
            Shard.parse(text)
