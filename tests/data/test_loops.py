"""The compiled part of reading, and what becomes of one that another version or machine left."""

import _ctypes

import pytest

from cosmictagger_tf.data import loops


def refused(caplog, path) -> str:
    assert loops.load(str(path)) is None
    (line,) = caplog.messages
    assert line.startswith(f"cosmictagger_tf: {path} is not this version's (") and "`pip install -e .`" in line
    return line


def test_a_file_for_another_machine_is_refused(tmp_path, caplog):
    path = tmp_path / "_loops.so"
    path.write_bytes(b"\xcf\xfa\xed\xfe" + bytes(4000))
    refused(caplog, path)


def test_one_from_before_there_was_a_number_is_refused(caplog):
    assert "loops_interface" in refused(caplog, _ctypes.__file__)


def test_one_of_another_version_is_refused(caplog, monkeypatch):
    if not loops.LOOPS:
        pytest.skip("loops.c was not compiled")
    assert loops.load(loops.LOOPS._name)
    monkeypatch.setattr(loops, "INTERFACE", loops.INTERFACE + 1)
    assert "its interface is " in refused(caplog, loops.LOOPS._name)


def test_other_ranks_leave_the_line_to_the_first(capsys, monkeypatch):
    monkeypatch.setenv("HOROVOD_RANK", "1")
    monkeypatch.setenv("HOROVOD_SIZE", "2")
    assert loops.load(_ctypes.__file__) is None
    assert capsys.readouterr().err == ""
