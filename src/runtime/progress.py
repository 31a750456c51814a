"""How far long work is: bars on a terminal, and where there is none (a file, `nohup`, CI) a line every half minute."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from src.runtime.memory import peak_memory
from src.runtime.processes import on_first_process

log = logging.getLogger(__name__)

T = TypeVar("T")
PAUSE = 30.0  # seconds between two lines


def on_terminal() -> bool:
    """Whether somebody looks on, to whom a bar can be shown; in a file it would be one line of thousands of returns."""
    return sys.stdout.isatty() and sys.stderr.isatty()


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> [duration(value) for value in (0.4, 59.9, 75, 3600, 7265)]
    ['0 s', '60 s', '1 min 15 s', '1 h 0 min', '2 h 1 min']
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


class Work:
    """A piece of work under way.

    Args:
        what: What is done, for the beginning of a line.
        total: How much there is to do; None if nobody knows.
        unit: What is counted: `"images"`, `"steps"`.
        rate: Say how many units are done in a second.

    Attributes:
        done: How much is.
        total: Of how much.
        seconds: Since it was begun.
        note: Said too, a loss, say; a function is called when a line is written, in the thread that writes it.
    """

    def __init__(self, what: str, total: float | None = None, unit: str = "", rate: bool = True) -> None:
        self.what, self.total, self.unit, self.rate = what, total, unit, rate
        self.done = 0.0
        self.note: str | Callable[[], str] = ""
        self._began = time.monotonic()
        self._show: Callable[[], None] = lambda: None

    @property
    def seconds(self) -> float:
        """Since it was begun."""
        return time.monotonic() - self._began

    def advance(self, count: float = 1) -> None:
        """So much more is done."""
        self.reach(self.done + count)

    def reach(self, done: float, total: float | None = None, note: str | Callable[[], str] = "") -> None:
        """So much is done by now; of a total, and with a note, that may only be known now."""
        self.done, self.total, self.note = done, total or self.total, note or self.note
        self._show()

    def speed(self) -> str:
        """Units a second so far."""
        return f"{self.done / max(self.seconds, 1e-3):,.1f} {self.unit}/s"

    def line(self) -> str:
        """How far it is, how fast, how long it will take, and how much memory was needed so far."""
        if not self.done:
            return f"{self.what}: at work for {duration(self.seconds)}, {peak_memory()}."
        of, share = (f" of {self.total:,.0f}", f" ({self.done / self.total:.0%})") if self.total else ("", "")
        parts = [f"{self.done:,.0f}{of} {self.unit}".rstrip() + share]
        if self.note:
            parts.append(self.note if isinstance(self.note, str) else self.note())
        if self.rate:
            parts.append(self.speed())
        if self.total and self.done < self.total:
            parts.append(f"about {duration(self.seconds * (self.total - self.done) / self.done)} left")
        else:  # something comes after the last one
            parts.append(f"at work for {duration(self.seconds)}")
        return f"{self.what}: {', '.join([*parts, peak_memory()])}."


class Progress:
    """Shows pieces of work while they are under way, each as a bar, or in a line every `PAUSE` seconds.

    The lines are written by a thread, so that they also come while a single operation takes minutes. Of several
    processes of a run only the first one shows anything.

    On a terminal there are bars, unless somebody else shows some.

    Args:
        bars: Whether to show them.
    """

    def __init__(self, bars: bool = True) -> None:
        self._works: list[Work] = []
        self._said: set[int] = set()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._bars: Bars | None = None
        if not on_first_process(True, False):
            return
        if not on_terminal():
            self._thread = threading.Thread(target=self._say, name="progress", daemon=True)
            self._thread.start()
        elif bars:
            columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
            note = TextColumn("{task.fields[note]}", markup=False)
            self._bars = Bars(*columns, note, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            self._bars.start()

    def begin(self, what: str, total: float | None = None, unit: str = "", rate: bool = True) -> Work:
        """A piece of work that is begun now; see `Work`."""
        work = Work(what, total, unit, rate)
        if (bars := self._bars) is not None:
            task = bars.add_task(what, total=total, note="")
            work._show = lambda: bars.update(
                task, completed=work.done, total=work.total, note=work.note if isinstance(work.note, str) else ""
            )
        self._works.append(work)
        return work

    def end(self, work: Work) -> None:
        """The work is done; says so if it was long enough to be spoken of."""
        self._works.remove(work)
        if id(work) in self._said:
            log.info("%s: done in %s, %s.", work.what, duration(work.seconds), peak_memory())

    def close(self) -> None:
        """Shows nothing more."""
        self._end.set()
        if self._bars is not None:
            self._bars.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _say(self) -> None:
        while not self._end.wait(PAUSE):
            for work in [*self._works]:
                self._said.add(id(work))
                log.info(work.line())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()


@contextmanager
def working(what: str, total: float | None = None, unit: str = "") -> Iterator[Work]:
    """Shows one piece of work; see `Work`."""
    with Progress() as progress:
        work = progress.begin(what, total, unit)
        yield work
        progress.end(work)


def tracked(items: Iterable[T], what: str, total: float | None = None, unit: str = "images") -> Iterator[T]:
    """The items one after the other, and how many of them are done."""
    with working(what, total, unit) as work:
        for item in items:
            yield item
            work.advance()
