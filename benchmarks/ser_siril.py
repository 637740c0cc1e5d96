# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Compare SER videos as astroflat and as Siril read them.

Run ``python benchmarks/ser_siril.py [VIDEO ...]``. Siril (``siril-cli``) makes
the median of each video without normalisation; it is compared with
``numpy.median`` of the frames that astroflat reads. Without arguments small
videos of all depths, colours and byte orders are made first. Siril keeps the
bottom row first; this is undone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from astroflat.io import SERFile, open_frames, write_ser


def siril_median(siril, video, folder):
    """
    Return Siril's median of a video.

    Parameters
    ----------
    siril : str
        The program.

    video : `pathlib.Path`
        The SER video.

    folder : `pathlib.Path`
        An empty folder to work in.

    Returns
    -------
    median : `~numpy.ndarray`
        float64 samples, ``(ny, nx)`` or ``(ny, nx, 3)``, the first row on top.
    """
    link = folder / 'video.ser'
    link.symlink_to(video.resolve())
    script = folder / 'script.ssf'
    script.write_text(
        'requires 1.0.0\nset32bits\nsetext fit\n'
        'stack video med -nonorm -out=median\nclose\n'
    )
    # Its settings are kept out of the home of the user.
    env = {**os.environ, 'HOME': str(folder), 'XDG_CONFIG_HOME': str(folder)}
    command = [siril, '-d', str(folder), '-s', str(script)]
    subprocess.run(command, env=env, check=True, capture_output=True)
    with SERFile(video) as ours:
        rgb = ours.color == 'RGB'
    with open_frames(folder / 'median.fit', color='RGB' if rgb else 'mono') as stack:
        frame = stack[0][::-1].astype(np.float64)
    # The scale of all depths, also of 8 bits.
    return frame * 65535


def compare(siril, video):
    """
    Compare one video and print a line.

    Parameters
    ----------
    siril : str
        The program.

    video : `pathlib.Path`
        The SER video.

    Returns
    -------
    difference : float
        The largest difference, in samples.
    """
    with tempfile.TemporaryDirectory() as name, SERFile(video) as ours:
        theirs = siril_median(siril, video, Path(name))
        difference = np.abs(np.median(ours[:], axis=0) - theirs).max()
        print(
            f'{video.name:28s} {ours.shape!s:22s} {ours.bit_depth:2d} bit '
            f'{ours.color:5s} {ours.byteorder:7s} max difference {difference:.2g}'
        )
    return difference


def make_videos(folder):
    """
    Write small videos of all kinds that Siril reads.

    Parameters
    ----------
    folder : `pathlib.Path`
        Where.

    Returns
    -------
    videos : list of `pathlib.Path`
        The videos.
    """
    rng = np.random.default_rng(0)
    videos = []
    for depth in (8, 10, 12, 14, 16):
        for color in ('mono', 'RGGB', 'GRBG', 'GBRG', 'BGGR', 'RGB', 'BGR'):
            for order in ('little', 'big')[: 1 if depth == 8 else 2]:
                shape = (5, 48, 64, 3) if color in ('RGB', 'BGR') else (5, 48, 64)
                level = np.linspace(0.3, 0.7, 48).reshape(48, *[1] * (len(shape) - 2))
                top = 2**depth - 1
                frames = top * level + rng.normal(0, top / 60, shape)
                frames = frames.clip(0, top).astype('u1' if depth == 8 else 'u2')
                videos.append(folder / f'{color}_{depth}_{order}.ser')
                write_ser(
                    videos[-1], frames, color=color, bit_depth=depth, byteorder=order
                )
    return videos


def main(argv=None):
    """
    Run the comparison.

    Parameters
    ----------
    argv : list of str, optional
        The command line.

    Returns
    -------
    code : int
        0 if all agree to a hundredth of a sample, 1 if not, 2 without Siril.
    """
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[1])
    parser.add_argument('videos', nargs='*', type=Path)
    args = parser.parse_args(argv)
    siril = shutil.which('siril-cli')
    if siril is None:
        print('siril-cli is not installed', file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        videos = args.videos or make_videos(Path(name))
        worst = max(compare(siril, video) for video in videos)
    print(f'worst: {worst:.2g}')
    return int(worst > 0.01)


if __name__ == '__main__':
    sys.exit(main())
