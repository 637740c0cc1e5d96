# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tasks on threads, on processes, or on a cluster: the same, in any order."""

from __future__ import annotations

import os
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ['Workers', 'make_workers']

# Tasks handed out per worker: none waits for the next, and few wait in memory.
_AHEAD = 2


class Workers:
    """
    Something that runs functions, a bounded number at a time.

    Parameters
    ----------
    n : int
        How many run at a time.

    pool : object or None
        An executor of `concurrent.futures`; None runs in place.

    client : `dask.distributed.Client` or None
        A cluster, in place of a pool.
    """

    def __init__(self, n: int, pool: Any = None, client: Any = None) -> None:
        self.n, self.pool, self.client = n, pool, client

    def run(
        self, function: Callable[[Any], Any], tasks: Iterable[Any]
    ) -> Iterator[tuple[Any, Any]]:
        """
        Run a function on tasks.

        Parameters
        ----------
        function : callable
            Takes a task. It can be pickled.

        tasks : iterable
            The tasks.

        Yields
        ------
        task : object
            As they are done.

        result : object
            What the function returned, or the exception that it raised.
        """
        if self.client is not None:
            yield from self._on_cluster(function, tasks)
        elif self.pool is None:
            for task in tasks:
                yield task, _caught(function, task)
        else:
            yield from self._in_pool(function, tasks)

    def _in_pool(
        self, function: Callable[[Any], Any], tasks: Iterable[Any]
    ) -> Iterator[tuple[Any, Any]]:
        waiting: dict[Any, Any] = {}
        source = iter(tasks)
        more = True
        while more or waiting:
            while more and len(waiting) < _AHEAD * self.n:
                task = next(source, waiting)
                more = task is not waiting
                if more:
                    waiting[self.pool.submit(_caught, function, task)] = task
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), future.result()

    def _on_cluster(
        self, function: Callable[[Any], Any], tasks: Iterable[Any]
    ) -> Iterator[tuple[Any, Any]]:
        from distributed import as_completed

        source = iter(tasks)
        known: dict[str, Any] = {}
        stream = as_completed()

        def hand_out() -> None:
            for task in source:
                # A task that ran is not known by its arguments: its files may
                # have been removed since.
                future = self.client.submit(_caught, function, task, pure=False)
                known[future.key] = task
                stream.add(future)
                return

        for _ in range(_AHEAD * self.n):
            hand_out()
        for future in stream:
            task = known.pop(future.key)
            # An exception here is the cluster's, not that of the function.
            error = future.exception()
            result = future.result() if error is None else error
            future.release()
            hand_out()
            yield task, result


def _caught(function: Callable[[Any], Any], task: Any) -> Any:
    """Return what a function returns or raises."""
    try:
        return function(task)
    except Exception as error:  # noqa: BLE001
        return _portable(error)


def _portable(error: Exception) -> Exception:
    """Return an exception that another process can read."""
    import pickle

    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:  # noqa: BLE001
        return RuntimeError(f'{type(error).__name__}: {error}')
    return error


@contextmanager
def make_workers(
    *,
    n: int,
    processes: bool = False,
    client: Any = None,
    scheduler: str | None = None,
) -> Iterator[Workers]:
    """
    Start workers, and stop those that were started.

    Parameters
    ----------
    n : int
        How many frames at a time on this machine.

    processes : bool, optional
        Processes in place of threads.

    client : `dask.distributed.Client`, optional
        A cluster.

    scheduler : str, optional
        The address of a cluster.

    Yields
    ------
    workers : Workers
        Ready to run.
    """
    if client is not None or scheduler is not None:
        with _connect(client, scheduler) as connected:
            threads = sum(connected.nthreads().values())
            yield Workers(max(1, threads), client=connected)
        return
    if n == 1 and not processes:
        yield Workers(1)
        return
    pool = _make_pool(n, processes)
    try:
        yield Workers(n, pool)
    finally:
        # After an error nothing that waits is begun.
        pool.shutdown(cancel_futures=True)


def _make_pool(n: int, processes: bool) -> Any:
    """Return a pool of threads or of processes."""
    if not processes:
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(n)
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # A fork of a process with threads may hang.
    context = multiprocessing.get_context('spawn')
    return ProcessPoolExecutor(n, mp_context=context)


@contextmanager
def _connect(client: Any, scheduler: str | None) -> Iterator[Any]:
    """Return the client that was given, or a new one that is closed afterwards."""
    if client is not None:
        yield client
        return
    try:
        from distributed import Client
    except ImportError:
        msg = "a scheduler needs dask: pip install 'astroflat[distributed]'"
        raise ImportError(msg) from None
    with Client(os.fspath(scheduler)) as connected:
        yield connected
