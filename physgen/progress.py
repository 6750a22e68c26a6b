"""Progress of long work: a bar on the terminal with rate and time left, or a caller's own function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = bool | Callable[[int, int], None]


@contextmanager
def advancing(progress: Progress, total: int, unit: str = "observations") -> Iterator[Callable[[int], None]]:
    """Yield a function to be called with the amount of work just done.

    Parameters
    ----------
    progress : bool or callable
        True shows a bar; a function is called with (done, total); False is silent.
    total : int
        Amount of work in all.
    unit : str
        What is counted.
    """
    if callable(progress):
        yield _reporter(progress, total)
    elif progress:
        with _bar(total, unit) as advance:
            yield advance
    else:
        yield lambda amount: None


def _reporter(report: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    done = 0

    def advance(amount: int) -> None:
        nonlocal done
        done += amount
        report(done, total)

    return advance


@contextmanager
def _bar(total: int, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total, rate="")

        def advance(amount: int) -> None:
            bar.advance(task, amount)
            state = bar.tasks[0]
            if state.elapsed:
                bar.update(task, rate=f"{state.completed / state.elapsed:,.0f}/s")

        yield advance
