import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd_lab.outside.pickles import read_pickle
from tests.datasets.cifar_files import python2

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 12)


@pytest.mark.parametrize("array", [IMAGES, np.asfortranarray(IMAGES)], ids=["C", "Fortran"])
@pytest.mark.parametrize("write", [python2, *(lambda v, p=p: pickle.dumps(v, p) for p in range(2, 5))])
def test_read_pickle__what_python_2_and_3_write(array: Any, write: Any) -> None:
    found = read_pickle(write({"data": array, "labels": [3, 1], "about": "x"}))
    assert found["data"].dtype == np.uint8
    np.testing.assert_array_equal(found["data"], array)
    assert (found["labels"], found["about"]) == ([3, 1], b"x" if write is python2 else "x")


class Runs:
    """A pickle of it makes a file when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize(
    ("function", "argument"),
    [(os.mkdir, "owned"), (Path.touch, Path("owned")), (eval, "__import__('os').mkdir('owned')")],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_read_pickle__that_runs_code__refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: Any, argument: Any, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = pickle.dumps({"data": Runs(function, argument)}, protocol)
    with pytest.raises(ValueError, match=r"^it asks for \w+\.[\w.]+, expected arrays, lists and text alone$"):
        read_pickle(raw)
    assert not list(tmp_path.iterdir())
    pickle.loads(raw)
    assert [file.name for file in tmp_path.iterdir()] == ["owned"], "the pickle runs nothing in any case"


@pytest.mark.parametrize("name", ["numpy.load", "numpy.core.multiarray.fromfile", "numpy.fft.fft", "_codecs.lookup"])
def test_read_pickle__other_names_of_the_same_modules__refused(name: str) -> None:
    module, _, inside = name.rpartition(".")
    raw = pickle.GLOBAL + f"{module}\n{inside}\n".encode() + pickle.STOP
    with pytest.raises(ValueError, match=rf"^it asks for {name}, expected"):
        read_pickle(b"\x80\x02" + raw)


@pytest.mark.parametrize("of", ["numpy\nndarray", "numpy\ndtype", "_codecs\nencode"])
def test_read_pickle__cannot_change_what_reads_it(of: str) -> None:
    """BUILD sets attributes of whatever it is given, of a class as well."""
    state = pickle.dumps((None, {"read": 1, "__doc__": "owned"}), 2)[2:-1]
    with pytest.raises(ValueError, match="__setstate__"):
        read_pickle(b"\x80\x02c" + of.encode() + b"\n" + state + pickle.BUILD + pickle.STOP)
    assert read_pickle(python2({"data": IMAGES}))["data"].shape == (2, 12)


@pytest.mark.parametrize("array", [IMAGES.astype(np.int64), np.array([{}]), np.array(["a"])], ids=str)
def test_read_pickle__arrays_of_other_things(array: Any) -> None:
    with pytest.raises(ValueError, match=r"^an array in it is not one of bytes, as many as its shape says$"):
        read_pickle(pickle.dumps({"data": array}, 2))


@pytest.mark.parametrize("shape", ["(I2\nI2000000000\nt", "(I-2\nI-12\nt", "(I5\nt", "(F24.0\nt"])
def test_read_pickle__a_shape_that_declares_what_is_not_there(shape: str) -> None:
    honest = pickle.dumps({"data": IMAGES.reshape(24)}, 2)
    lying = honest.replace(b"K\x18\x85", shape.encode())
    assert lying != honest
    with pytest.raises(ValueError, match="an array in it is not one of bytes"):
        read_pickle(lying)


@pytest.mark.parametrize("raw", [b"", b"\x80\x02", python2({"a": [1, 2]})[:-4], b"no pickle", python2([1])])
def test_read_pickle__damaged_or_of_something_else(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_pickle(raw)
