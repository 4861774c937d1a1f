"""Several devices side by side, a thread for each: what goes wrong with one of them is its own matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Generic, Self, TypeVar

from convert.devices.ssh import Address, DeviceError, Line
from edge_runtime.errors import EdgeError

Given = TypeVar("Given")
Result = TypeVar("Result")
Tell = Callable[[], object]
"""What a device's work calls for each piece of it that is done."""


class Fleet:
    """The lines to some devices; they are hung up with the block, so that nothing keeps running there.

    `failures` has the error of each device that dropped out, in the order in which they were given. `say` is told of
    each at once, where there are several.
    """

    def __init__(self, addresses: Sequence[str], say: Callable[[str], object] = lambda _: None) -> None:
        twice = [address for address, times in Counter(addresses).items() if times > 1]
        if twice:
            raise DeviceError(f"--device {twice[0]} is given twice: name each device once")
        self.lines = [Line(Address.parse(address)) for address in addresses]
        self._say = say
        self._errors: dict[Line, Exception] = {}
        self._pool = ThreadPoolExecutor(len(self.lines))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for line in self.lines:
            line.hang_up()
        self._pool.shutdown()

    @property
    def name(self) -> str:
        """Return the address of the only device, or how many there are."""
        return self.lines[0].address.text if len(self.lines) == 1 else f"{len(self.lines)} devices"

    @property
    def failures(self) -> dict[Line, str]:
        """Return what went wrong with those that dropped out."""
        return {line: str(self._errors[line]) for line in self.lines if line in self._errors}

    def start(self, work: Callable[[Line, Tell], Result]) -> Work[Result]:
        """Let each device that has not dropped out work in a thread of its own."""
        told: SimpleQueue[bool] = SimpleQueue()

        def one(line: Line) -> Result:
            try:
                return work(line, lambda: told.put(True))
            finally:
                told.put(False)

        lines = [line for line in self.lines if line not in self._errors]
        return Work({line: self._pool.submit(one, line) for line in lines}, told)

    def finish(self, work: Work[Result]) -> dict[Line, Result]:
        """Return what each device's work came to; see `each`."""
        return self.each(work.futures, Future.result)

    def each(self, given: Mapping[Line, Given], work: Callable[[Given], Result]) -> dict[Line, Result]:
        """Return what `work` makes of what there is of each device; those with which it fails drop out.

        Raises:
            DeviceError: all have dropped out; of an only device, its own error.
        """
        found = {}
        for line, one in given.items():
            try:
                found[line] = work(one)
            except (EdgeError, OSError) as error:
                if len(self.lines) == 1:
                    raise
                self._errors[line] = error
                self._say(str(error))
        if len(self._errors) == len(self.lines):
            raise DeviceError(f"none of the {len(self.lines)} devices answers: each has said why")
        return found


class Work(Generic[Result]):
    """What some devices are doing."""

    def __init__(self, futures: dict[Line, Future[Result]], told: SimpleQueue[bool]) -> None:
        self.futures, self._told = futures, told

    def pieces(self) -> Iterator[None]:
        """Yield for each piece that is told of, until all have ended."""
        running = len(self.futures)
        while running:
            if self._told.get():
                yield
            else:
                running -= 1
