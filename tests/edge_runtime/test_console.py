"""What native code prints is hidden while it should be, and no longer."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time

import pytest

from edge_runtime.console import descriptors_redirected, native_stderr_silenced


def test_stderr_is_silent_from_c_and_from_python(capfd: pytest.CaptureFixture[str]) -> None:
    with native_stderr_silenced():
        os.write(2, b"a library")
        print("a module", file=sys.stderr)
        os.write(1, b"a result")
    os.write(2, b"an error")
    assert capfd.readouterr() == ("a result", "an error")


def test_an_error_ends_the_silence(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="refused"), native_stderr_silenced():
        raise ValueError("refused")
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_descriptors_are_redirected_to_one_file(capfd: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryFile() as file:
        with descriptors_redirected(file.fileno(), 1, 2):
            os.write(1, b"out ")
            os.write(2, b"err")
        assert os.pread(file.fileno(), 100, 0) == b"out err"
    assert capfd.readouterr() == ("", "")


def test_a_closed_descriptor_stays_closed() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with descriptors_redirected(reading, writing), pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writing)
    os.close(reading)


def test_threads_do_not_silence_each_other_for_good(capfd: pytest.CaptureFixture[str]) -> None:
    """The second to begin would take the silence of the first for stderr, and put it back after the first has ended."""
    inside, begun = threading.Event(), threading.Event()

    def second() -> None:
        begun.set()
        with native_stderr_silenced():
            inside.wait(0.1)

    thread = threading.Thread(target=second)
    with native_stderr_silenced():
        thread.start()
        begun.wait()
        time.sleep(0.05)
    inside.set()
    thread.join()
    os.write(2, b"from C\n")
    print("from Python", file=sys.stderr)
    assert capfd.readouterr().err == "from C\nfrom Python\n"
