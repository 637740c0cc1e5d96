# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Correct each frame by the flat of all others, and say how flat it is.

Run ``python benchmarks/left_out.py FRAME FRAME FRAME FRAME ...`` on raw frames of
different fields, taken with one camera and one filter (``--bias`` if there is one;
``--registered`` if they show the same field). For each frame a flat is made of all
the others with `astroflat.sky_flat`, and it is corrected by that.

Columns, before and after:

* background: robust scatter of the medians of 32-px blocks, in per cent of their
  median. The sky of each frame has a gradient of its own, which stays.
* on the flat: the slope of the blocks on those of the flat of the others, both
  in logarithms, beside a plane for the sky. 1 says that the frame holds all of
  what the others have in common, 0 that nothing of it is left.
"""

from __future__ import annotations

import argparse

import numpy as np

import astroflat as af

BOX = 32


def blocks_of(image):
    """
    Return the medians of blocks of an image.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image.

    Returns
    -------
    medians : `~numpy.ndarray`
        One value per block.
    """
    ny, nx = (n // BOX for n in image.shape)
    cut = image[: ny * BOX, : nx * BOX].reshape(ny, BOX, nx, BOX)
    return np.median(cut, axis=(1, 3))


def spread(image):
    """
    Return the robust scatter of the background.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image.

    Returns
    -------
    scatter : float
        In per cent of its level.
    """
    blocks = blocks_of(image)
    middle = np.median(blocks)
    return 100 * 1.4826 * float(np.median(np.abs(blocks - middle))) / middle


def slope_on(image, flat):
    """
    Return how much of a flat is in an image.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image.

    flat : `~numpy.ndarray`
        The flat.

    Returns
    -------
    slope : float
        1 if all of it is.
    """
    values, known = (np.log(blocks_of(a)).ravel() for a in (image, flat))
    y, x = np.mgrid[: image.shape[0] // BOX, : image.shape[1] // BOX]
    design = np.stack([known, 0 * known + 1, y.ravel(), x.ravel()], axis=1)
    weight = np.ones(len(values))
    for _ in range(10):
        root = np.sqrt(weight)
        found = np.linalg.lstsq(design * root[:, None], values * root, rcond=None)[0]
        off = values - design @ found
        scale = 1.4826 * np.median(np.abs(off)) + 1e-9
        weight = 1 / (1 + (off / (2 * scale)) ** 2)
    return float(found[0])


def leave_one_out(frames, *, bias=0.0, registered=False):
    """
    Correct every frame by a flat of the others.

    Parameters
    ----------
    frames : list of `~numpy.ndarray`
        Raw frames.

    bias : float or `~numpy.ndarray`, optional
        Subtracted from them.

    registered : bool, optional
        Whether they show the same field.

    Yields
    ------
    row : dict
        The numbers of one frame.
    """
    for k, frame in enumerate(frames):
        others = frames[:k] + frames[k + 1 :]
        options = {} if registered else {'offsets': False}
        found = af.sky_flat(others, bias=bias, **options)
        flat = found.flat.data.astype(float)
        before = frame - bias
        yield {
            'frame': k,
            'level': float(np.median(before)),
            'background': (spread(before), spread(before / flat)),
            'on the flat': (slope_on(before, flat), slope_on(before / flat, flat)),
            'verdict': found.report.verdict,
            'sigma': found.report.numbers['sigma_percent'],
        }


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('frames', nargs='+')
    parser.add_argument('--bias', type=float, default=0.0, help='a number')
    parser.add_argument('--registered', action='store_true')
    args = parser.parse_args()
    with af.open_frames(args.frames) as stack:
        frames = [np.asarray(stack[i], float) for i in range(len(stack))]
    print('frame  level  background %        on the flat         sigma %  verdict')
    rows = leave_one_out(frames, bias=args.bias, registered=args.registered)
    for row in rows:
        (a, b), (c, d) = row['background'], row['on the flat']
        print(
            f'{row["frame"]:5d} {row["level"]:6.0f}  {a:6.2f} -> {b:6.2f}  '
            f'{c:8.3f} -> {d:6.3f}  {row["sigma"]:7.2f}  {row["verdict"]}',
            flush=True,
        )


if __name__ == '__main__':
    main()
