# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Nights that are killed, and nights on a cluster: the same bytes as ever."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from night_folder import make_night

from astroflat._progress import listen
from astroflat.pipelines import run_night
from astroflat.pipelines._night_store import NightStore, publish
from astroflat.pipelines._night_workers import Workers, make_workers

# Kills itself the moment that a file is about to get its name, or just has it.
KILLED = """
import os, signal, sys
from pathlib import Path

folder, when, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
old, seen = Path.replace, [0]

def replace(self, target):
    seen[0] += 1
    if when == 'before' and seen[0] == count:
        os.kill(os.getpid(), signal.SIGKILL)
    result = old(self, target)
    if when == 'after' and seen[0] == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

Path.replace = replace
from astroflat.pipelines import run_night
run_night(folder, flats='given', n_workers=1)
"""


def contents(folder):
    """Return the bytes of all files by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


@pytest.fixture(scope='module')
def night(tmp_path_factory):
    """Return a night, and the results of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp('night') / 'night'
    folder.mkdir()
    make_night(folder, n=6, n_bias=3, n_flat=3)
    report = run_night(folder, flats='given', n_workers=1)
    assert report.n_done == 6
    wanted = contents(folder / 'calibrated')
    shutil.rmtree(folder / 'calibrated')
    return folder, wanted


@pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='needs SIGKILL')
def test_killed_again_and_again(night, tmp_path):
    """Whatever a killed run leaves is whole; the last run ends with the same bytes."""
    folder, wanted = night
    # Copies keep the times, so they are the same night.
    folder = Path(shutil.copytree(folder, tmp_path / 'night'))
    output = folder / 'calibrated'
    finished = 0
    # Masters are made first; a light and its record are two names each.
    for when, count in (('before', 3), ('after', 8), ('before', 4), ('after', 9)):
        command = [sys.executable, '-c', KILLED, str(folder), when, str(count)]
        done = subprocess.run(command, check=False, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-500:]
        assert (output / '.night').is_dir()
        lights = {k: v for k, v in contents(output).items() if not k.startswith('.')}
        assert all(wanted[name] == data for name, data in lights.items())
        assert len(lights) >= finished
        finished = len(lights)
    assert 0 < finished < len(wanted)
    report = run_night(folder, flats='given', n_workers=1)
    assert report.n_kept > 0
    assert report.n_done + report.n_kept == 6
    assert contents(output) == wanted


@pytest.mark.parametrize(('n', 'processes'), [(3, False), (2, True)])
def test_parallel_is_the_same(night, tmp_path, n, processes):
    """Threads and processes write the same bytes as one after the other."""
    folder, wanted = night
    folder = Path(shutil.copytree(folder, tmp_path / 'night'))
    run_night(folder, flats='given', n_workers=n, processes=processes)
    assert contents(folder / 'calibrated') == wanted


def test_cluster_loses_a_worker(night, tmp_path):
    """On two real workers, one killed among the lights, the bytes are the same."""
    distributed = pytest.importorskip('distributed')
    folder, wanted = night
    folder = Path(shutil.copytree(folder, tmp_path / 'night'))
    killed = []

    def kill(done, total, description):
        if description == 'lights' and done == 2 and not killed:
            pids = client.run(os.getpid)
            killed.extend(pids.values())
            os.kill(killed[0], signal.SIGKILL)

    with warnings.catch_warnings():
        # What the cluster has to say about its ports and its end.
        warnings.simplefilter('ignore')
        with (
            distributed.LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                dashboard_address=None,
                silence_logs=50,
                local_directory=str(tmp_path / 'dask'),
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            with listen(kill):
                report = run_night(
                    folder, flats='given', scheduler=cluster.scheduler_address
                )
            assert len(set(client.run(os.getpid).values()) & set(killed)) < 2
    assert len(killed) == 2
    assert (report.n_done, report.n_failed) == (6, 0)
    assert contents(folder / 'calibrated') == wanted


def fail(task):
    """Fail for odd numbers."""
    if task % 2:
        msg = f'{task} is odd'
        raise ValueError(msg)
    return 10 * task


@pytest.mark.parametrize('n', [1, 3])
def test_workers_return_errors(n):
    """Every task comes back, with its result or its exception."""
    with make_workers(n=n) as workers:
        found = dict(workers.run(fail, range(20)))
    assert sorted(found) == list(range(20))
    assert all(found[i] == 10 * i for i in range(0, 20, 2))
    assert all(str(found[i]) == f'{i} is odd' for i in range(1, 20, 2))


def test_workers_do_not_run_ahead():
    """Tasks are drawn when there is room for them, not before."""
    drawn = []

    def tasks():
        for i in range(50):
            drawn.append(i)
            yield i

    with make_workers(n=2) as workers:
        assert isinstance(workers, Workers)
        stream = workers.run(str, tasks())
        next(stream)
        assert len(drawn) <= 5
        assert len(list(stream)) == 49


def test_publish_is_all_or_nothing(tmp_path):
    """A writer that fails leaves the old file and nothing else."""
    store = NightStore(tmp_path)
    with store.locked():
        path = tmp_path / 'a.txt'
        assert publish(path, lambda p: p.write_text('old')) == 3

        def half(temporary):
            temporary.write_text('ha')
            raise OSError

        with pytest.raises(OSError):  # noqa: PT011
            publish(path, half)
        assert path.read_text() == 'old'
        store.finish()
    assert [p.name for p in tmp_path.iterdir()] == ['a.txt']
    with pytest.raises(FileNotFoundError, match='no folder of results'):
        publish(path, lambda p: p.write_text('x'))
