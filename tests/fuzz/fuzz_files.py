# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Feed damaged files to every reader of astroflat and say what it does not survive.

Run it as a script, for as long as you like::

    python tests/fuzz/fuzz_files.py --cases 100000 --seed 1
    python tests/fuzz/fuzz_files.py --kinds xisf png --cases 5000
    python tests/fuzz/fuzz_files.py --replay 1 xisf 4711

A case is survived if the file is read, or if ValueError, OSError or one of
astroflat's own errors says why not; within five seconds of processor time and a
gigabyte of memory, and without leaving a file behind. Cases are numbered: the same
seed, format and number make the same file. They run in a process of their own,
which is started again behind a case that ends it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from fuzz_mutators import mutate, pick
from fuzz_seeds import FORMATS, make_seeds

SUFFIX = {'tiff': 'tif', 'card': 'json'}
SECONDS = 5
MEMORY = 2**30
# Without a new case for so long, the process hangs where no signal is heard.
SILENCE = 120


class HangError(BaseException):
    """A case took too long; no reader may catch this."""


def by_image(path, rng):
    """Read as one image."""
    from astroflat.io import read_ccd, read_image

    (read_ccd if rng.random() < 0.6 else read_image)(path)


def by_frames(path, rng):
    """Read as a stack of frames, by rows and as a whole."""
    from astroflat.io import open_frames

    with open_frames(path, partial=bool(rng.random() < 0.5)) as stack:
        n, rows = len(stack), min(8, stack.shape[1])
        assert stack.read_rows(0, rows).shape[:2] == (n, rows)
        stack.mask_rows(0, rows)
        stack.header(0)
        stack.ccd(n - 1)


def by_dump(path, rng):
    """Write the frames as single files; none of them may stay if one cannot."""
    from astroflat.io import dump_frames

    out = path.parent / 'out'
    try:
        dump_frames(path, out)
    except BaseException:
        left = [p.name for p in out.glob('*')] if out.exists() else []
        assert not any(name.startswith(('.', 'tmp')) for name in left), left
        raise
    finally:
        for file in out.glob('*'):
            file.unlink()
        if out.exists():
            out.rmdir()


def by_rewrite(path, rng):
    """Read an image and write it; what could be read can be written."""
    from astroflat.io import read_ccd, write_image

    ccd = read_ccd(path)
    out = path.with_name('again.fits')
    try:
        write_image(ccd, out)
        again = read_ccd(out)
    finally:
        out.unlink(missing_ok=True)
    if again.data.dtype == ccd.data.dtype and ccd.data.shape == again.data.shape:
        np.testing.assert_array_equal(again.data, ccd.data)


def by_ser(path, rng):
    """Read a video with everything that its header says."""
    from astroflat.io import SERFile

    with SERFile(path, partial=bool(rng.random() < 0.5)) as video:
        video.read_rows(0, video.shape[1])
        video.flat_view()
        repr(video)
        if rng.random() < 0.2:
            assert video.times is None or len(video.times) == len(video)


def by_card(path, rng):
    """Read the card of a network, by its name or from memory."""
    from astroflat.neural import find_model, read_card

    if rng.random() < 0.5:
        find_model(path)
    else:
        read_card(path.read_bytes())


def by_session(path, rng):
    """Make the network ready, and run it once."""
    from astroflat.neural import Session

    session = Session(path, device='cpu', n_threads=1)
    session.run(np.zeros((1, 1, 8, 8), 'f4'))


def by_json(path, rng):
    """Read a card that is no longer inside a network."""
    from astroflat.neural import ModelCard

    card = ModelCard.from_json(path.read_text('utf-8', 'surrogatepass'))
    assert ModelCard.from_json(card.to_json()) == card


IMAGES = [by_image, by_image, by_frames]
READERS = {
    'ser': [by_ser, by_ser, by_ser, by_frames],
    'onnx': [by_card, by_card, by_card, by_session],
    'card': [by_json],
}


def make_case(seeds, seed, kind, number):
    """Return the bytes of a case, its reader and the rest of its random numbers."""
    rng = np.random.default_rng([seed, FORMATS.index(kind), number])
    data = mutate(rng, kind, pick(rng, seeds[kind]))
    reader = pick(rng, READERS.get(kind, IMAGES))
    if rng.random() < 0.06 and kind not in ('onnx', 'card'):
        reader = by_dump if kind == 'ser' or rng.random() < 0.4 else by_rewrite
    return data, reader, rng


def is_clear(error):
    """Tell whether an error says what is wrong, to someone who has only the file."""
    from astroflat import AstroflatError

    if isinstance(error, UnicodeError) or not str(error).strip():
        return False
    if isinstance(error, TypeError):
        # Ours are raised on purpose, others are accidents.
        last = traceback.extract_tb(error.__traceback__)[-1]
        return 'astroflat' in last.filename and 'raise' in (last.line or '')
    return isinstance(error, (ValueError, OSError, AstroflatError))


def where(error):
    """Return what tells one finding from another."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f'{os.sep}astroflat{os.sep}' in f.filename]
    frame = (ours or frames)[-1]
    # Not the message, which names positions and would make each case a finding.
    return f'{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}'


def attempt(path, data, reader, rng):
    """Run a case; return what was wrong with the way it ended, or None."""
    path.write_bytes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            reader(path, rng)
        outcome = 'read'
    except (Exception, HangError) as error:  # noqa: BLE001
        outcome = 'refused' if is_clear(error) else f'{reader.__name__}: {where(error)}'
    left = sorted(p.name for p in path.parent.iterdir() if p != path)
    return f'{reader.__name__} leaves {left}' if left else outcome


def limit_process():
    """Bound the memory of this process, and the time of each case."""

    def stop(*_):
        raise HangError

    pages = int(Path('/proc/self/statm').read_text().split()[0])
    size = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, stop)


def run_cases(seed, kind, numbers, folder, *, report=None, seeds=None):
    """
    Run cases in this process.

    Parameters
    ----------
    seed : int
        The first part of the seed of each case.

    kind : str
        The format.

    numbers : iterable of int
        The numbers of the cases.

    folder : `pathlib.Path`
        An empty folder.

    report : callable, optional
        Called with the number before each case; limits this process for good.

    seeds : dict, optional
        The sound files, if they are already there.

    Returns
    -------
    counts : dict of str to list of int
        How many were 'read' and 'refused', everything else is a finding; and the
        number of the first of them.
    """
    seeds = make_seeds(folder) if seeds is None else seeds
    counts, first = Counter(), {}
    path = folder / f'file.{SUFFIX.get(kind, kind)}'
    for reader in READERS.get(kind, IMAGES):
        # What is imported lazily must not count as memory or time of a case.
        attempt(path, seeds[kind][0], reader, np.random.default_rng(0))
    if report is not None:
        limit_process()
    for number in numbers:
        if report is not None:
            report(number)
            # Again and again: a reader may swallow the first one.
            signal.setitimer(signal.ITIMER_PROF, SECONDS, 1)
        outcome = attempt(path, *make_case(seeds, seed, kind, number))
        counts[outcome] += 1
        first.setdefault(outcome, number)
    path.unlink(missing_ok=True)
    return {k: [n, first[k]] for k, n in counts.items()}


def child(seed, kind, start, stop, progress):
    """Run cases and write the results for the parent."""
    with tempfile.TemporaryDirectory() as folder, Path(progress).open('r+b', 0) as file:

        def report(number):
            file.seek(0)
            file.write(f'{number:12d}'.encode())

        print(
            json.dumps(
                run_cases(seed, kind, range(start, stop), Path(folder), report=report)
            )
        )


def watch(command, progress):
    """Run a child to its end, or until it is silent for too long; return its output."""
    # What the libraries below print about damage is not ours.
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.DEVNULL}
    process = subprocess.Popen(command, text=True, **pipes)
    last, since = '', time.monotonic()
    while True:
        try:
            return process.communicate(timeout=5)[0], process.returncode
        except subprocess.TimeoutExpired:
            now = progress.read_text()
            if now != last:
                last, since = now, time.monotonic()
            elif time.monotonic() - since > SILENCE:
                process.kill()


def run_batch(seed, kind, start, stop, results):
    """Run cases in a child, and in another one behind a case that kills it."""
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder) / 'progress'
        while start < stop:
            progress.write_text(f'{start - 1:12d}')
            case = [str(seed), kind, str(start), str(stop), str(progress)]
            out, code = watch([sys.executable, __file__, '--child', *case], progress)
            if code == 0:
                for outcome, (n, first) in json.loads(out.splitlines()[-1]).items():
                    results.setdefault((kind, outcome), [0, first])[0] += n
                return
            number = int(progress.read_text())
            if number < start:
                msg = 'the sound files themselves cannot be read'
                raise SystemExit(msg)
            crashes = results.setdefault(
                (kind, f'process ends with {code}'), [0, number]
            )
            crashes[0] += 1
            if number > start:
                # What came before it was lost with the process.
                run_batch(seed, kind, start, number, results)
            start = number + 1


def main():
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--cases', type=int, default=10_000, help='of each format')
    parser.add_argument('--batch', type=int, default=2_000, help='cases of a process')
    parser.add_argument('--start', type=int, default=0, help='the first number')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--kinds', nargs='+', choices=FORMATS, default=FORMATS)
    parser.add_argument('--replay', nargs=3, metavar=('SEED', 'KIND', 'NUMBER'))
    parser.add_argument('--child', nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        seed, kind, start, stop, progress = args.child
        child(int(seed), kind, int(start), int(stop), progress)
        return 0
    if args.replay:
        return replay(*args.replay)
    results, began = {}, time.monotonic()
    for kind in args.kinds:
        for start in range(args.start, args.start + args.cases, args.batch):
            stop = min(start + args.batch, args.start + args.cases)
            run_batch(args.seed, kind, start, stop, results)
            show(results, kind, time.monotonic() - began)
    return int(any(outcome not in {'read', 'refused'} for _, outcome in results))


def show(results, kind, seconds):
    """Print what was found in a format so far."""
    mine = {outcome: found for (k, outcome), found in results.items() if k == kind}
    total = sum(n for n, _ in mine.values())
    read, refused = (mine.pop(k, [0])[0] for k in ('read', 'refused'))
    print(f'{kind}: {total} cases, {read} read, {refused} refused, {seconds:.0f} s')
    for outcome, (n, first) in sorted(mine.items(), key=lambda item: -item[1][0]):
        print(f'  {n} x {outcome} (first: {first})')
    sys.stdout.flush()


def replay(seed, kind, number):
    """Run one case without catching anything; the file stays for a look at it."""
    folder = Path(tempfile.mkdtemp())
    case = make_case(make_seeds(folder), int(seed), kind, int(number))
    path = folder / f'file.{SUFFIX.get(kind, kind)}'
    path.write_bytes(case[0])
    print(path, case[1].__name__)
    case[1](path, case[2])
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
