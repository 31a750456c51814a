"""Videos side by side, each in a process of its own."""

import multiprocessing
import os
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from src.video.cropping import CropOptions, Progress, crop_video
from src.video.detectors import DetectorChoice
from src.video.sources import Source

Report = Callable[[Source, Progress], None]


def crop_videos(
    sources: Sequence[Source],
    choice: DetectorChoice,
    options: CropOptions,
    out: Path,
    processes: int,
    report: Report,
) -> dict[Path, Exception]:
    """Crops videos, several at a time.

    Args:
        sources: The videos.
        choice: Of the detector; each process has its own.
        options: How.
        out: The output folder.
        processes: How many at a time; 1 does it in this process.
        report: Is told in this process how far each is.

    Returns:
        Which videos failed, and why; the others are whole.
    """
    processes = min(processes, len(sources))
    threads = max(1, (os.cpu_count() or 1) // max(1, processes))
    failed: dict[Path, Exception] = {}
    if processes <= 1:
        detector = choice.make(threads)
        for source in sources:
            try:
                crop_video(source, detector, options, out, partial(report, source))
            except (OSError, ValueError) as error:
                failed[source.video] = error
        return failed
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(processes, context) as pool:
        reports: Any = manager.Queue()
        futures = {
            pool.submit(_work, source, choice, options, out, threads, reports, number, os.getpid()): source
            for number, source in enumerate(sources)
        }
        _listen(futures, sources, reports, report)
        for future, source in futures.items():
            try:
                future.result()
            except (OSError, ValueError) as error:
                failed[source.video] = error
    return failed


def _listen(futures: dict[Future[None], Source], sources: Sequence[Source], reports: Any, report: Report) -> None:
    while True:
        ended = all(future.done() for future in futures)  # before the queue is found empty
        try:
            number, progress = reports.get(timeout=0.2)
        except queue.Empty:
            if ended:
                return
        else:
            report(sources[number], progress)


def _work(
    source: Source,
    choice: DetectorChoice,
    options: CropOptions,
    out: Path,
    threads: int,
    reports: Any,
    number: int,
    parent: int,
) -> None:
    def send(progress: Progress) -> None:
        if os.getppid() != parent:  # it was killed, and nobody wants this any more
            os._exit(1)
        reports.put((number, progress))

    crop_video(source, choice.make(threads), options, out, send)
