# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Run methods on scenes, one scene at a time, whatever the methods do."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context

from astroflat import DegenerateDithersError
from benchmarks.blindflat.methods import load
from benchmarks.blindflat.scenes import make_case
from benchmarks.blindflat.score import as_answer, score


def run_scene(entry, calls, *, timeout=None):
    """
    Simulate one scene and score methods on it.

    Parameters
    ----------
    entry : dict
        Description of the scene.

    calls : dict of str
        Name of a method -> ``module:function``.

    timeout : float, optional
        Seconds that a method may take.

    Returns
    -------
    list of dict
        One result per method, see `run_method`.
    """
    case = make_case(entry)
    return [run_method(case, n, load(s), timeout=timeout) for n, s in calls.items()]


def run_method(case, name, function, *, timeout=None):
    """
    Call a method and score its answer.

    Parameters
    ----------
    case : Case
        The scene.

    name : str
        Name of the method.

    function : callable
        The method.

    timeout : float, optional
        Seconds that it may take.

    Returns
    -------
    dict
        ``scene``, ``method``; ``seconds`` of processor time; ``status``: 'ok',
        'refused' (the verdict of the report is 'reject', or the method says by
        `~astroflat.DegenerateDithersError` that these dithers tell no flat from
        a sky) or 'failed'; ``error``, what was raised, or None; ``verdict`` of
        the report, and ``stated``, see `Answer`, if any; ``scores``, as returned
        by `score`, or None.
    """
    record = {'scene': case.entry['id'], 'method': name}
    # Copies, so that a method that writes to its input harms itself alone.
    frames = [ccd.copy() for ccd in case.frames]
    start = cpu_seconds()
    try:
        with warnings.catch_warnings(), time_limit(timeout):
            warnings.simplefilter('ignore')
            result = function(frames[0] if case.single else frames)
        seconds = cpu_seconds() - start
        answer = as_answer(result, shape=case.flat.shape, n_frames=len(frames))
        scores = score(case, answer)
    except Exception as error:  # noqa: BLE001
        # Whatever a method raises is a result of the benchmark.
        seconds = cpu_seconds() - start
        text = f'{type(error).__name__}: {error}'[:300]
        return record | {
            'seconds': seconds,
            'status': 'refused' if _refuses(error) else 'failed',
            'error': text,
            'scores': None,
        }
    status = 'refused' if answer.verdict == 'reject' else 'ok'
    return record | {
        'seconds': seconds,
        'status': status,
        'error': None,
        'verdict': answer.verdict,
        'stated': answer.stated,
        'scores': scores,
    }


def _refuses(error):
    """Return whether an error is an answer: no flat, rather than a wrong one."""
    return isinstance(error, DegenerateDithersError)


def run_all(jobs, *, processes=1, timeout=None):
    """
    Run methods on many scenes.

    Parameters
    ----------
    jobs : list of tuple
        Descriptions of scenes, each with its methods, see `run_scene`.

    processes : int, optional
        How many scenes at a time.

    timeout : float, optional
        Seconds that a method may take.

    Yields
    ------
    list of dict
        The results of one scene, in the order in which scenes finish.
    """
    if processes == 1:
        for entry, calls in jobs:
            yield run_scene(entry, calls, timeout=timeout)
        return
    # Not forked: threads of libraries do not survive a fork.
    with ProcessPoolExecutor(processes, mp_context=get_context('spawn')) as pool:
        futures = [
            pool.submit(run_scene, entry, calls, timeout=timeout)
            for entry, calls in jobs
        ]
        for future in as_completed(futures):
            yield future.result()


def cpu_seconds():
    """
    Return the processor time used so far, which a busy machine does not change.

    Returns
    -------
    float
        Seconds of this process and of the programs that it has run.
    """
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


@contextmanager
def time_limit(seconds):
    """
    Raise `TimeoutError` after a time, where the system has interval timers.

    Parameters
    ----------
    seconds : float or None
        The time; None or a thread that gets no signals is no limit.

    Yields
    ------
    None
        Nothing.
    """
    main = threading.current_thread() is threading.main_thread()
    if not seconds or not hasattr(signal, 'setitimer') or not main:
        yield
        return

    def stop(*_):
        msg = f'took longer than {seconds:g} s'
        raise TimeoutError(msg)

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
