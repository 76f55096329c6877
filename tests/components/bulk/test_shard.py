"""Shards of a list: equal to one process byte for byte, whatever is killed, and clear about what does not fit."""

import errno
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from cascade_core.bulk.shards import Shard
from cascade_core.errors import UserError
from cascade_core.predictor import Predictor
from components.bulk import gather, shard
from components.bulk.sources import ListedPicture
from components.storage.lease import FolderInUseError
from components.storage.result_folder import result_folder
from tests.components.bulk.listed import LABELS, PICTURES

Run = Callable[..., shard.ShardResult]


@pytest.fixture
def run(predictor: Predictor, pictures: list[str], tmp_path: Path) -> Run:
    """Label shard 0/1 of the pictures into the folder `one`, unless arguments say otherwise."""
    return partial(
        shard.run,
        predictor=predictor,
        pictures=pictures,
        labels=LABELS,
        out=str(tmp_path / "one"),
        shard=Shard(0, 1),
        batch=2,
    )


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def results(folder: Path) -> dict[str, bytes]:
    """Return the files that do not depend on the number of shards."""
    return {
        name: content
        for name, content in files(folder).items()
        if name.startswith("label_maps/") or name in (gather.TABLE, gather.HISTOGRAM)
    }


def test_shards_equal_one_process_byte_for_byte(run: Run, tmp_path: Path, pictures: list[str]) -> None:
    run()
    joined = gather.run(str(tmp_path / "one"))
    assert (joined.pictures, joined.failed) == (PICTURES, 1)
    ((picture, error),) = joined.failures
    assert picture == pictures[9] and picture in error
    assert [total.label for total in joined.classes] == LABELS
    for index in reversed(range(4)):  # more shards than buckets
        run(shard=Shard(index, 4), out=str(tmp_path / "four"))
    gather.run(str(tmp_path / "four"))
    assert len(results(tmp_path / "one")) == 5
    assert results(tmp_path / "four") == results(tmp_path / "one")
    rows = parquet.read_table(tmp_path / "one" / gather.TABLE).to_pylist()
    assert [row["picture"] for row in rows] == pictures
    assert "09.png: cannot be decoded" in rows[9]["error"] and rows[9]["classes"] is None
    tar, _, member = rows[2]["label_map"].partition("#")
    with tarfile.open(tmp_path / "one" / tar) as archive:
        ids = np.array(Image.open(archive.extractfile(member)))
    assert ids.shape == (rows[2]["height"], rows[2]["width"]) == (24, 40)
    for area in rows[2]["classes"]:
        assert area["pixels"] == np.count_nonzero(ids == area["id"]) and area["label"] == LABELS[area["id"]]


class Killed(BaseException):
    """Stands for a kill."""


def test_a_shard_killed_at_any_write_ends_alike(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    whole, disk = files(tmp_path / "one"), type(result_folder(str(tmp_path)))
    plain_write, plain_send = disk.write, disk.send
    for kill_at in range(len(whole) + 4):  # its parts are removed at the end
        out, writes = str(tmp_path / f"killed{kill_at}"), 0

        def killing(write: Callable[..., None], *arguments: object, last: int = kill_at) -> None:
            nonlocal writes
            if writes == last:
                raise Killed
            writes += 1
            write(*arguments)

        monkeypatch.setattr(disk, "write", lambda *a, kill=killing: kill(plain_write, *a))
        monkeypatch.setattr(disk, "send", lambda *a, kill=killing: kill(plain_send, *a))
        try:
            run(out=out)
        except Killed:
            pass
        else:
            assert writes == kill_at
            break
        monkeypatch.setattr(disk, "write", plain_write)
        monkeypatch.setattr(disk, "send", plain_send)
        run(out=out)
        assert files(Path(out)) == whole
    else:
        pytest.fail("no call came to its end")
    assert kill_at > 7


def test_a_rerun_reads_only_the_bucket_of_a_changed_picture(
    run: Run, tmp_path: Path, pictures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run() == shard.ShardResult(PICTURES, 0, 1)
    before = files(tmp_path / "one")
    read = list[int]()
    plain = ListedPicture.read
    monkeypatch.setattr(
        ListedPicture, "read", lambda picture: read.append(picture.position) or plain(picture)
    )
    assert run() == shard.ShardResult(PICTURES, PICTURES, 1)
    assert not read and files(tmp_path / "one") == before
    Image.new("RGB", (40, 24)).save(pictures[9])
    assert run() == shard.ShardResult(PICTURES, PICTURES - 8, 0)
    assert sorted(read) == list(range(8, 16))
    (tmp_path / "one/label_maps/000000.tar").unlink()
    assert run().kept == PICTURES - 8
    assert gather.run(str(tmp_path / "one")).failed == 0


def test_a_changed_list_or_request_is_refused(run: Run, tmp_path: Path, pictures: list[str]) -> None:
    run(shard=Shard(0, 2))
    for change, message in (
        ({"pictures": pictures[:-1]}, r"list of pictures \(19, now 18\)"),
        ({"pictures": pictures[::-1]}, r"list of pictures \(19, now 19\)"),
        ({"labels": LABELS[:2]}, r"request \(labels\)"),
        ({"flip": True}, r"request \(flip\)"),
        ({"batch": 1}, r"batch size \(2, not 1\)"),
        ({"shard": Shard(1, 3)}, r"number of shards \(2, not 3\)"),
    ):
        with pytest.raises(UserError, match=f"other shards there began with another {message}"):
            run(**{"shard": Shard(1, 2), **change})
    (tmp_path / "one" / "plan.json").unlink()
    assert run(labels=LABELS[:2], shard=Shard(0, 2)).kept == 0  # rows of other labels do not count
    run(labels=LABELS[:2], shard=Shard(1, 2))
    gather.run(str(tmp_path / "one"))


def test_gathering_names_what_is_missing_or_wrong(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "one"
    join = partial(gather.run, str(out))
    with pytest.raises(UserError, match=r"plan.json does not exist; give the --out"):
        join()
    run(shard=Shard(1, 3))
    with pytest.raises(UserError, match=r"2 of 3 shards are missing or not finished: 0/3, 2/3; .* 0/3 again"):
        join()
    run(shard=Shard(0, 3))
    run(shard=Shard(2, 3))
    table = out / "shards" / "00001-of-00003.parquet"
    content = table.read_bytes()
    table.write_bytes(content[:-9])
    with pytest.raises(UserError, match=r"00001-of-00003.parquet is not the table that shard 1/3 wrote"):
        join()
    table.unlink()
    with pytest.raises(UserError, match=r"00001-of-00003.parquet is missing; .* --shard 1/3 again"):
        join()
    assert not (out / gather.TABLE).exists()
    run(shard=Shard(1, 3))
    assert table.read_bytes() == content and join().pictures == PICTURES
    (out / "plan.json").write_text((out / "plan.json").read_text().replace("sand", "rock"))
    with pytest.raises(UserError, match="shards 0/3, 1/3, 2/3 were made by another plan"):
        join()
    (out / "plan.json").write_text("{}")
    with pytest.raises(UserError, match="was not written by `cascade-clip predict`"):
        join()


def test_two_workers_on_one_shard_are_refused(run: Run, tmp_path: Path) -> None:
    with result_folder(str(tmp_path / "one")).held("shards/00000-of-00002", work="worker of shard 0/2"):
        with pytest.raises(FolderInUseError, match="another worker of shard 0/2 writes it"):
            run(shard=Shard(0, 2))
        assert run(shard=Shard(1, 2)).pictures == 11


def test_a_full_disk_is_one_sentence_and_a_rerun_goes_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if "000001.tar" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return plain(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"000001.tar could not be written: no space left"):
        run()
    assert [path.name for path in (tmp_path / "one/label_maps").iterdir()] == ["000000.tar"]
    monkeypatch.setattr(Path, "write_bytes", plain)
    assert run().kept == 8
