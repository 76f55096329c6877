"""SBD's annotations: a file on which SciPy crashes the process is an error of that file alone."""

import io
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from cascade_core.datasets import sbd
from cascade_core.datasets.sbd import MOST_BYTES, read_mat
from cascade_core.errors import UserError
from tests.official_files import halves, sbd_mat


def odd_mat() -> bytes:
    """Return an annotation whose ids claim a wrong type, which crashes SciPy on some memory contents."""
    content = io.BytesIO()
    savemat(content, {"GTcls": {"Segmentation": np.zeros((4, 5), dtype=np.uint8)}})
    damaged = bytearray(content.getvalue())
    damaged[265] = 128
    return bytes(damaged)


def serve_or_crash(connection: Connection) -> None:
    """Answer as the child process does, but crash as SciPy does on the file `bad.mat`."""
    path = connection.recv()
    if path.name == "bad.mat":
        os.kill(os.getpid(), signal.SIGSEGV)
    connection.send(halves(7, 12))


def test_a_file_that_crashes_scipy_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbd, "_CHILD", sbd._Child())
    monkeypatch.setattr(sbd, "_serve", serve_or_crash)
    for _ in range(2):
        with pytest.raises(UserError, match=r"bad\.mat: no annotation of SBD \(SciPy crashes on it\)"):
            read_mat(tmp_path / "bad.mat", 20)
        assert np.array_equal(read_mat(tmp_path / "good.mat", 20), halves(7, 12))


def test_an_annotation_of_a_wrong_type_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "bad.mat").write_bytes(odd_mat())
    (tmp_path / "good.mat").write_bytes(sbd_mat(halves(7, 12)))
    for _ in range(2):
        with pytest.raises(UserError, match=r"bad\.mat: no annotation of SBD"):
            read_mat(tmp_path / "bad.mat", 20)
        assert np.array_equal(read_mat(tmp_path / "good.mat", 20), halves(7, 12))


def test_an_annotation_of_python_objects_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"GTcls": {"Segmentation": np.array([[1, "a"]], dtype=object)}})
    with pytest.raises(UserError, match=r"a\.mat: no annotation of SBD \(it holds object values\)"):
        read_mat(tmp_path / "a.mat", 20)


def test_an_annotation_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    ids = np.zeros((2**14, 20_000), dtype=np.uint8)
    savemat(tmp_path / "a.mat", {"GTcls": {"Segmentation": ids}}, do_compression=True)
    assert (tmp_path / "a.mat").stat().st_size < MOST_BYTES
    with pytest.raises(UserError, match="a.mat: no annotation of SBD .*Memory"):
        read_mat(tmp_path / "a.mat", 20)
