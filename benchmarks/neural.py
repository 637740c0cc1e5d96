# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Time networks: start of a session, first call, steady speed, memory.

Run ``python benchmarks/neural.py`` for the networks that come with astroflat, or
name some: ``--model NAME_OR_PATH``. ``--quick`` takes smaller frames. ``--device``
adds or leaves out CUDA, which is measured where it can really be used.

Every measurement runs in a process of its own, as a session is only started once
and the peak of the memory never falls. The processes take turns, so that a busy
machine slows them all; what is reported is the median over the turns, and for the
steady speed of one call the best of its repetitions as well. Times of CUDA include
the copies to the GPU and back. Beside the networks stand whole calls of astroflat,
the same networks in eager PyTorch where it is installed, and peers: see
``neural_peers.py``. They are called twice, and both times are given: the first
includes what is only done once. ``--roofline`` adds what the GPU reaches in copies
and in products of matrices.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from neural_peers import CALLS, PEERS, TORCH

FULL = (4000, 6000)
QUICK = (1000, 1500)
SIDES = (512, 1024)
QUICK_SIDES = (256,)


def peak_bytes():
    """Return the largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024


def timed(function, *args, **kwargs):
    """Return the result of a function and the seconds that it took."""
    start = time.perf_counter()
    result = function(*args, **kwargs)
    return result, time.perf_counter() - start


def measure_network(name, device, shape, sides, repeats):
    """Measure a network in this process."""
    from astroflat.neural import Session, find_model, load_onnxruntime
    from astroflat.neural.parity import random_inputs

    onnxruntime, import_s = timed(load_onnxruntime)
    model, find_s = timed(find_model, name)
    session, start_s = timed(Session, model, device=device)
    row = {
        'name': model.card.name,
        'version': model.card.version,
        'sha256': model.sha256,
        'device': session.device,
        'threads': session.n_threads,
        'onnxruntime': onnxruntime.__version__,
        'import_s': import_s,
        'find_s': find_s,
        'start_s': start_s,
    }
    base = peak_bytes()
    for side in sides:
        inputs = random_inputs(session, side=side)
        pixels = max(x.shape[-1] * x.shape[-2] for x in inputs.values() if x.ndim > 2)
        _, first = timed(session.run, inputs)
        times = [timed(session.run, inputs)[1] for _ in range(repeats)]
        row[f'first_{side}_s'] = first
        row[f'steady_{side}_mpx_s'] = pixels / statistics.median(times) / 1e6
        row[f'best_{side}_mpx_s'] = pixels / min(times) / 1e6
        # The first size that raises the peak by more than the noise of malloc.
        row[f'memory_{side}_bytes_px'] = (peak_bytes() - base) / pixels
    # Networks that see cells instead of pixels are in the whole calls.
    if session.card.task == 'denoise':
        row |= measure_frame(session, shape)
    return row


def measure_frame(session, shape):
    """Measure a whole frame in tiles."""
    from astroflat.neural import apply_tiled, overlap_cost

    card = session.card
    options = {'halo': card.halo, 'multiple': card.multiple}
    channels = session.inputs[0].shape[1]
    rng = np.random.default_rng(0)
    frame = rng.standard_normal((channels, *shape), dtype=np.float32)
    output = session.outputs[0].name

    def function(tiles):
        return session.run(tiles)[output]

    base = peak_bytes()
    _, seconds = timed(apply_tiled, function, frame, scale=card.scale, **options)
    return {
        'frame_s': seconds,
        'frame_mpx_s': shape[0] * shape[1] / seconds / 1e6,
        'frame_overlap': overlap_cost(shape, **options),
        'frame_peak_mb': peak_bytes() / 1e6,
        'frame_more_mb': (peak_bytes() - base) / 1e6,
    }


def measure_function(case, shape):
    """Measure a function of a whole frame in this process."""
    device = case.get('device', 'cpu')
    frame = np.random.default_rng(0).normal(1000, 30, shape).astype(np.float32)
    if case['kind'] == 'peer':
        function = PEERS[case['name']]
    else:
        known = CALLS if case['kind'] == 'call' else TORCH

        def function(image):
            return known[case['name']](image, device)

    base = peak_bytes()
    _, first = timed(function, frame)
    _, seconds = timed(function, frame)
    return {
        'name': case['name'],
        'device': device,
        'first_s': first,
        'frame_s': seconds,
        'frame_mpx_s': frame.size / seconds / 1e6,
        'frame_more_mb': (peak_bytes() - base) / 1e6,
    }


def measure_roofline():
    """Return what the GPU reaches: bytes copied and operations, a second."""
    import torch

    def best(function, repeats=10):
        times = []
        for _ in range(repeats):
            torch.cuda.synchronize()
            start = time.perf_counter()
            function()
            torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        return min(times)

    source = torch.empty(2**30, dtype=torch.float32, device='cuda')
    target = torch.empty_like(source)
    row = {'name': 'roofline', 'device': torch.cuda.get_device_name()}
    row['copy_tb_s'] = 8 * source.numel() / best(lambda: target.copy_(source)) / 1e12
    host = torch.empty(2**26, dtype=torch.float32, pin_memory=True)
    seconds = best(lambda: source[: 2**26].copy_(host, non_blocking=True))
    row['upload_gb_s'] = 4 * host.numel() / seconds / 1e9
    for kind in ('float32', 'bfloat16'):
        a = torch.randn(8192, 8192, device='cuda', dtype=getattr(torch, kind))
        row[f'{kind}_tflop_s'] = 2 * 8192**3 / best(lambda a=a: a @ a) / 1e12
    return row


def in_a_process(case, quick):
    """Run one measurement in a process of its own."""
    command = [sys.executable, __file__, '--worker', json.dumps(case)]
    command += ['--quick'] if quick else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr.splitlines()[-1], file=sys.stderr)
        return None
    line = done.stdout.splitlines()[-1]
    print(line, file=sys.stderr, flush=True)
    return json.loads(line)


def work(case, quick):
    """Run one measurement in this process and print it."""
    shape, sides = (QUICK, QUICK_SIDES) if quick else (FULL, SIDES)
    if case['kind'] == 'roofline':
        row = measure_roofline()
    elif case['kind'] != 'network':
        row = measure_function(case, shape)
    else:
        repeats = 3 if quick else 7
        row = measure_network(case['name'], case['device'], shape, sides, repeats)
    print(json.dumps(row))


def merge(rows):
    """Return the median of each number over the turns."""
    merged = dict(rows[0])
    for key, value in merged.items():
        if isinstance(value, float):
            merged[key] = statistics.median(row[key] for row in rows)
    return merged | {'turns': len(rows)}


def list_cases(args):
    """Return what to measure."""
    import astroflat as af
    from astroflat.neural import available_devices

    models = args.model or list(map(str, af.list_models()['name']))
    devices = available_devices() if args.device == 'auto' else [args.device]
    cases = [
        {'kind': 'network', 'name': str(name), 'device': device}
        for name in models
        for device in devices
    ]
    kinds = {'call': CALLS, 'torch': TORCH if find_spec('torch') else {}}
    for kind, known in kinds.items():
        cases += [
            {'kind': kind, 'name': name, 'device': device}
            for name in known
            for device in devices
        ]
    cases += [{'kind': 'peer', 'name': name} for name in PEERS]
    return cases + [{'kind': 'roofline'}] * args.roofline


def show(row):
    """Print the numbers of one case."""
    print(f'\n{row["name"]} {row.get("version", "")} on {row["device"]}')
    for key, value in row.items():
        if isinstance(value, float):
            print(f'  {key:24s} {value:10.4g}')


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--model', action='append', help='a name or a path')
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto')
    parser.add_argument('--turns', type=int, default=3)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--roofline', action='store_true')
    parser.add_argument('--only', help='measure what has this in its name')
    parser.add_argument('--json', type=Path, help='write the numbers to this file')
    parser.add_argument('--worker', type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.quick)
        return
    cases = list_cases(args)
    if args.only:
        cases = [case for case in cases if args.only in case.get('name', '')]
    if not cases:
        parser.error('no network comes with this version; name one with --model')
    turns = [
        [in_a_process(case, args.quick) for case in cases] for _ in range(args.turns)
    ]
    rows = [
        merge(found)
        for column in zip(*turns, strict=True)
        if (found := [row for row in column if row is not None])
    ]
    for row in rows:
        show(row)
    if args.json:
        facts = {'python': platform.python_version(), 'machine': platform.machine()}
        args.json.write_text(json.dumps(facts | {'rows': rows}, indent=1) + '\n')


if __name__ == '__main__':
    main()
