# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What is lost between a model of images and the flat, if the model knew the truth.

No service is asked. In place of an answer there is the true scene, once as it is, and
once changed as a published answer of such a model was: a gain of 0.954 with an offset,
a vertical stretch of 0.37 %, a slope of the brightness of 1.5 %, and another size. So
the numbers are the floor that no model gets below, and what registration and matching
are worth::

    python benchmarks/adviser.py
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.transform import resize

import astroflat as af
from astroflat.degradation import make_scene
from astroflat.genai import AdviserLimits, GeminiInpainter
from astroflat.genai._answer import Answer, AnswerImage
from astroflat.genai._images import decode_image, encode_png
from astroflat.genai._shapes import Shape, draw_shapes

SHAPE = (1200, 1920)
NOISE = 0.002
ANYTHING = AdviserLimits(
    shift_percent=1e9,
    residual_pixels=1e9,
    mismatch_percent=1e9,
    correlation=0,
    over_offline=1e9,
)


def make_truth(kind):
    """Return a scene of level 20000 without noise."""
    if kind == 'flat':
        y, x = np.indices(SHAPE)
        return 20000 * (1 - 0.3 * ((x - 960) ** 2 + (y - 600) ** 2) / 1132**2)
    scene = ndimage.gaussian_filter(make_scene(SHAPE, kind=kind, rng=4), 2.0)
    return 20000 * scene / np.median(scene)


def make_dust(rng):
    """Return the transmission and the mask of 60 discs of 3 to 25 pixels."""
    y, x = np.indices(SHAPE)
    flat, mask = np.ones(SHAPE), np.zeros(SHAPE, dtype=bool)
    for _ in range(60):
        cy, cx = rng.uniform(20, SHAPE[0] - 20), rng.uniform(20, SHAPE[1] - 20)
        radius = rng.choice([3, 5, 8, 14, 25], p=[0.3, 0.25, 0.2, 0.15, 0.1])
        inside = np.hypot(y - cy, x - cx) <= radius
        flat[inside] *= 1 - rng.uniform(0.03, 0.3)
        mask |= inside
    return flat, af.dilate_mask(mask, 2)


class Oracle(GeminiInpainter):
    """Answers with the truth, changed or not, instead of asking."""

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, 'truth', None)
        object.__setattr__(self, 'changed', False)
        object.__setattr__(self, 'raw', None)

    def _ask(self, make, read):
        painting = make.__self__
        canvas = painting.canvas
        grey = np.clip(painting.stretch.forward(self.truth), 0, 1)
        out = canvas.border(canvas.place(grey))
        if self.changed:
            y, x = np.indices(out.shape).astype(float)
            y = (y - out.shape[0] / 2) * (1 - 0.0037) + out.shape[0] / 2
            out = ndimage.map_coordinates(out, [y, x], order=3, mode='nearest')
            out *= 1 + 0.015 * np.linspace(-1, 1, out.shape[1])
            out = 0.954 * out + 0.05
        # The size that the models return for 3:2.
        out = resize(out, (1632, 2464), order=3)
        png = encode_png(np.rint(255 * np.clip(out, 0, 1)))
        raw = canvas.enlarge(canvas.crop(decode_image(png)))
        object.__setattr__(self, 'raw', painting.stretch.inverse(raw))
        stage = {'provenance': {}}
        self.stages.append(stage)
        return read(Answer('', (AnswerImage('image/png', png),)), stage)


def score(image, truth, mask):
    """Return the error under the mask in per cent."""
    return 100 * float(np.sqrt(np.mean((image / truth - 1)[mask] ** 2)))


def fills():
    """Print the errors of fills."""
    print(
        'error under the mask, per cent        gp   as it came   brought back   claimed'
    )
    for kind in ('flat', 'granulation', 'active_region'):
        rng = np.random.default_rng(4)
        truth = make_truth(kind)
        flat, mask = make_dust(rng)
        data = (truth * flat * rng.normal(1, NOISE, SHAPE)).astype('f4')
        offline = score(af.inpaint(data, mask), truth, mask)
        for changed in (False, True):
            oracle = Oracle(limits=ANYTHING)
            object.__setattr__(oracle, 'truth', truth)
            object.__setattr__(oracle, 'changed', changed)
            filled, sigma = af.inpaint(
                data, mask, method=oracle, return_uncertainty=True
            )
            name = f'{kind}, {"as published" if changed else "perfect"}'
            claimed = 100 * float(np.sqrt(np.mean((sigma / truth)[mask] ** 2)))
            print(
                f'{name:32s} {offline:9.3f} {score(oracle.raw, truth, mask):12.3f} '
                f'{score(filled, truth, mask):14.3f} {claimed:9.3f}'
            )


def coordinates():
    """Print how well outlines in whole thousandths fit discs."""
    print(
        '\noverlap, and share held after growing by 2 pixels, for discs of radius\n'
        '                    2          4          8         16'
    )
    rng = np.random.default_rng(0)
    for side in (1000, 2000, 4000, 8000):
        row = []
        for radius in (2, 4, 8, 16):
            overlaps, held = [], []
            for _ in range(40):
                centre = rng.uniform(100, 200, 2)
                box = np.round(
                    np.concatenate([centre - radius, centre + radius]) * 1000 / side
                )
                # A window of the frame, in the coordinates of the whole.
                drawn = (
                    draw_shapes([Shape('disc', tuple(box), 1.0)], (side, side))[
                        :300, :300
                    ]
                    > 0
                )
                drawn = af.dilate_mask(drawn, side / 2000)
                y, x = np.indices(drawn.shape) + 0.5
                true = np.hypot(y - centre[0], x - centre[1]) < radius
                overlaps.append((drawn & true).sum() / (drawn | true).sum())
                held.append((af.dilate_mask(drawn, 2) & true).sum() / true.sum())
            row.append(f'{np.mean(overlaps):.2f}/{np.mean(held):.2f}')
        print(f'frame of {side:5d}   ' + '  '.join(row))


if __name__ == '__main__':
    fills()
    coordinates()
