# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Time medians side by side: astroflat, ccdproc, numpy and Siril.

Run ``python benchmarks/median/run.py``; README.rst says what it does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
from report import write_page, write_table
from sets import FULL, QUICK, FrameSet, drop_cache, warm_cache

HERE = Path(__file__).parent
# In the order of a round; what is compared most stands side by side.
METHODS = (
    'reading',
    'numba',
    'siril',
    'numpy',
    'numba+sigma',
    'numpy+sigma',
    'command',
    'numpy.median',
    'ccdproc+bottleneck',
    'ccdproc',
)
# Too slow to be repeated, or of no interest, with a cold cache.
WARM_ONLY = (
    'numpy.median',
    'ccdproc+bottleneck',
    'ccdproc',
    'numba+sigma',
    'numpy+sigma',
)
# These take minutes: once is enough.
ONCE = ('ccdproc+bottleneck', 'ccdproc', 'numpy.median')


def watch(command, *, cwd=None, env=None):
    """
    Run a command and look at its memory meanwhile.

    Parameters
    ----------
    command : list of str
        What to run.

    cwd : path, optional
        Where.

    env : dict, optional
        Its environment.

    Returns
    -------
    wall : float
        Seconds from start to end.

    memory : int
        The largest anonymous memory seen, in bytes.

    output : str
        What it printed.
    """
    with tempfile.TemporaryFile('w+') as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=cwd, env=env
        )
        status = Path(f'/proc/{process.pid}/status')
        memory = 0
        while process.poll() is None:
            try:
                text = status.read_text()
            except OSError:
                break
            for line in text.splitlines():
                if line.startswith('RssAnon:'):
                    memory = max(memory, int(line.split()[1]) * 1024)
            time.sleep(0.004)
        process.wait()
        wall = time.perf_counter() - start
        output.seek(0)
        text = output.read()
    if process.returncode:
        msg = f'{command[:3]} failed:\n{text[-2000:]}'
        raise RuntimeError(msg)
    return wall, memory, text


def run_siril(frames, kind, threads, result):
    """
    Run Siril on a folder with links to the frames.

    Parameters
    ----------
    frames : FrameSet
        The frames.

    kind : str
        'ser' or 'fits'.

    threads : int
        The number of threads.

    result : `pathlib.Path`
        Where to put the median.

    Returns
    -------
    record : dict
        Seconds of the step and of the process, and memory.
    """
    work = Path(tempfile.mkdtemp(dir=frames.folder))
    try:
        for path in frames.files(kind):
            (work / path.name).symlink_to(path)
        sequence = 'video' if kind == 'ser' else 'frame_'
        script = work / 'median.ssf'
        script.write_text(
            f'requires 1.0.0\nsetcpu {threads}\nsetext fits\n'
            f'stack {sequence} med -nonorm -out={result.stem}\nclose\n'
        )
        command = ['siril-cli', '-d', str(work), '-s', str(script)]
        wall, memory, text = watch(command, cwd=work)
        made = next(work.glob(f'{result.stem}.fit*'))
        shutil.move(made, result)
    finally:
        shutil.rmtree(work)
    return {'seconds': siril_seconds(text), 'wall': wall, 'memory': memory}


def siril_seconds(text):
    """
    Return the time that Siril says its stacking took.

    Parameters
    ----------
    text : str
        What it printed.

    Returns
    -------
    seconds : float
        The sum of what stands before the units.
    """
    words = re.findall(r'Execution time:(.*)', text)[-1]
    factors = {'ms': 1e-3, 's': 1.0, 'min': 60.0, 'h': 3600.0}
    parts = re.findall(r'([\d.]+) *(ms|min|s|h)', words)
    return sum(float(number) * factors[unit] for number, unit in parts)


def run_command(frames, kind, threads, result):
    """
    Run ``astroflat median`` as a user does.

    Parameters
    ----------
    frames : FrameSet
        The frames.

    kind : str
        'ser' or 'fits'.

    threads : int
        The number of threads.

    result : `pathlib.Path`
        Where to put the median.

    Returns
    -------
    record : dict
        Seconds of the process, and memory.
    """
    command = [sys.executable, '-m', 'astroflat', 'median']
    command += [str(path) for path in frames.files(kind)]
    command += ['-o', str(result), '--threads', str(threads)]
    command += ['--no-uncertainty', '--no-report', '--quiet']
    wall, memory, _ = watch(command)
    return {'seconds': None, 'wall': wall, 'memory': memory}


def run_method(method, frames, kind, threads, result):
    """
    Run one method in a process of its own.

    Parameters
    ----------
    method : str
        A key of ``methods.METHODS``, 'siril' or 'command'.

    frames : FrameSet
        The frames.

    kind : str
        'ser' or 'fits'.

    threads : int
        The number of threads.

    result : `pathlib.Path`
        Where to put the median.

    Returns
    -------
    record : dict
        Seconds of the step and of the process, and memory.
    """
    if method == 'siril':
        return run_siril(frames, kind, threads, result)
    if method == 'command':
        return run_command(frames, kind, threads, result)
    command = [sys.executable, str(HERE / 'methods.py'), method, str(result)]
    command += [str(threads), *(str(path) for path in frames.files(kind))]
    wall, memory, text = watch(command)
    record = json.loads(text.strip().splitlines()[-1])
    return {**record, 'wall': wall, 'memory': memory}


def difference(result, frames, method):
    """
    Return how far a result is from the median of numpy.

    Parameters
    ----------
    result : `pathlib.Path`
        The file.

    frames : FrameSet
        The frames.

    method : str
        What made it.

    Returns
    -------
    difference : float or None
        The largest, in units of the samples.
    """
    from astropy.io import fits

    if not result.exists():
        return None
    truth = np.load(frames.truth)
    with fits.open(result, memmap=False) as hdus:
        data = hdus[0].data.astype(np.float64)
    if method == 'siril':
        # In units of 65535, or of the largest sample; a video upside down.
        images = (data[::d] * full for d in (1, -1) for full in (65535, 255))
        return float(min(np.abs(image - truth).max() for image in images))
    return float(np.abs(data - truth).max())


def choose(args):
    """Return the methods that can run here."""
    methods = [m for m in METHODS if not args.methods or m in args.methods]
    if 'siril' in methods and not shutil.which('siril-cli'):
        print('siril-cli is not installed: left out')
        methods.remove('siril')
    return methods


def cases(args, methods):
    """Yield what to run in which order: methods take turns within a round."""
    for n, side, dtype in QUICK if args.quick else FULL:
        name = f'{n}_{side}_{dtype}'
        if args.sets and name not in args.sets:
            continue
        frames = FrameSet(n, side, dtype, args.folder / name)
        print(f'{frames.name}: making frames', flush=True)
        frames.make()
        for kind, cache in product(args.kinds, args.caches):
            for turn, method in product(range(args.rounds), methods):
                if method.startswith('ccdproc') and kind == 'ser':
                    continue
                if cache == 'cold' and method in WARM_ONLY:
                    continue
                if turn and method in ONCE:
                    continue
                yield frames, kind, cache, turn, method


def merge(old, new):
    """
    Return records with those of the same kind replaced by new ones.

    Parameters
    ----------
    old, new : list of dict
        The records.

    Returns
    -------
    records : list of dict
        All of them.
    """
    keys = ('frames', 'kind', 'cache', 'method')
    replaced = {tuple(r[k] for k in keys) for r in new}
    return [r for r in old if tuple(r[k] for k in keys) not in replaced] + new


def main():
    """Run everything and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--quick', action='store_true', help='small frames, to try it')
    parser.add_argument('--rounds', type=int, default=4)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--folder', type=Path, help='where the frames are kept')
    parser.add_argument('--output', type=Path, default=Path('median-benchmark'))
    parser.add_argument('--methods', nargs='*', choices=METHODS)
    names = [f'{n}_{side}_{dtype}' for n, side, dtype in (*FULL, *QUICK)]
    parser.add_argument('--sets', nargs='*', choices=names)
    parser.add_argument('--kinds', nargs='*', default=('ser', 'fits'))
    parser.add_argument('--caches', nargs='*', default=('warm', 'cold'))
    parser.add_argument('--rst', type=Path, help='a table for the documentation')
    parser.add_argument(
        '--again', action='store_true', help='measure nothing, write the tables again'
    )
    args = parser.parse_args()
    if args.again:
        write_results(args, None)
        return
    with tempfile.TemporaryDirectory() as temporary:
        args.folder = (args.folder or Path(temporary)).absolute()
        records = []
        for frames, kind, cache, turn, method in cases(args, choose(args)):
            paths = frames.files(kind)
            drop_cache(paths) if cache == 'cold' else warm_cache(paths)
            result = frames.folder / 'result.fits'
            result.unlink(missing_ok=True)
            record = run_method(method, frames, kind, args.threads, result)
            record.update(
                frames=frames.name,
                size=frames.size,
                kind=kind,
                cache=cache,
                turn=turn,
                method=method,
                difference=difference(result, frames, method),
                load=os.getloadavg()[0],
            )
            records.append(record)
            print(json.dumps(record), flush=True)
            result.unlink(missing_ok=True)
    write_results(args, records)


def write_results(args, records):
    """Write records beside older ones of other kinds, and the tables of all."""
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / 'results.json'
    document = json.loads(path.read_text()) if path.exists() else {'records': []}
    if records is not None:
        document['records'] = merge(document['records'], records)
        document['machine'] = {
            'processor': processor(),
            'threads': args.threads,
            'python': platform.python_version(),
            'numpy': np.__version__,
        }
        path.write_text(json.dumps(document, indent=1) + '\n')
    write_table(document, args.output / 'table.rst')
    if args.rst:
        write_page(document, args.rst)
    print((args.output / 'table.rst').read_text())


def processor():
    """Return the name of the processor."""
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            return line.split(':', 1)[1].strip()
    return platform.processor()


if __name__ == '__main__':
    main()
