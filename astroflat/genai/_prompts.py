# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What the model is asked, and in which form it must answer."""

from __future__ import annotations

from typing import Any

__all__ = [
    'DETECT_PROMPT',
    'INPAINT_PROMPT',
    'KINDS',
    'MASK_FORMAT',
    'PAINT_FORMAT',
    'SHAPES_FORMAT',
    'SHAPES_SCHEMA',
]

KINDS = ('disc', 'donut', 'speck', 'fibre')

DETECT_PROMPT = """\
This is a flat field, or the median of many frames, of an astronomical camera. The
smooth illumination has been divided out and the contrast raised; the grey of most of
the image is the undisturbed level.
Find the shadows of dust on the optics, the filter and the sensor window: round discs,
donuts (rings with a lighter middle, all of like size), small dark specks, thin fibres.
They belong to the camera, so they are sharp-edged or evenly soft, darker than what is
around them, and may have a thin bright rim.
Do not report anything of the sky or the Sun: stars, galaxies, nebulae, sunspots,
filaments, prominences, craters, the limb; nor vignetting, gradients, rows or columns,
noise. If you are not sure, report the object with a low confidence."""

SHAPES_FORMAT = """\
Answer with one JSON object {"objects": [...]}. Each object has:
"kind": "disc", "donut", "speck" or "fibre";
"box_2d": [ymin, xmin, ymax, xmax], the tight box around the whole shadow;
"polygon": [[y, x], ...], its outline, only if it is not round, otherwise left out;
"confidence": from 0 to 1.
Coordinates are numbers from 0 to 1000: y from the top to the bottom edge of the image,
x from the left to the right edge. Without any dust, answer {"objects": []}."""

MASK_FORMAT = """\
Answer with one image of the same scene, the same framing and the same aspect ratio: a
mask that is black everywhere and white exactly on the dust, grey where a pixel is
partly covered. No outlines, no labels, no text, nothing moved, nothing cropped."""

INPAINT_PROMPT = """\
Two images follow. The first is the response of an astronomical camera, with the smooth
illumination divided out and the contrast raised; the places where dust had fallen are
cut out and painted in one even grey. The second, of the same size, is white exactly at
these places.
Paint what the camera would have seen at the white places without the dust: continue the
brightness, the gradients and the texture around each place smoothly into it, so that
nobody can tell where it was. Invent no objects. Change nothing elsewhere."""

PAINT_FORMAT = """\
Answer with one image: the first one, completed, in grey, with the same framing and the
same aspect ratio. No labels, no text, nothing moved, nothing cropped."""

_NUMBER = {'type': 'number', 'minimum': 0, 'maximum': 1000}

#: The JSON schema of the answer, of the subset that the service accepts.
SHAPES_SCHEMA: dict[str, Any] = {
    'type': 'object',
    'properties': {
        'objects': {
            'type': 'array',
            'items': {
                'type': 'object',
                'properties': {
                    'kind': {'type': 'string', 'enum': list(KINDS)},
                    'box_2d': {
                        'type': 'array',
                        'items': _NUMBER,
                        'minItems': 4,
                        'maxItems': 4,
                    },
                    'polygon': {
                        'type': 'array',
                        'items': {
                            'type': 'array',
                            'items': _NUMBER,
                            'minItems': 2,
                            'maxItems': 2,
                        },
                    },
                    'confidence': {'type': 'number', 'minimum': 0, 'maximum': 1},
                },
                'required': ['kind', 'box_2d', 'confidence'],
            },
        }
    },
    'required': ['objects'],
}
