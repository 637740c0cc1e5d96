# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Small sound files of every format, and a few that are odd but legal."""

from __future__ import annotations

import bz2
import gzip
import io
import runpy
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits

__all__ = ['FORMATS', 'make_seeds']

FORMATS = ('ser', 'fits', 'tiff', 'png', 'xisf', 'onnx', 'card')
SHAPE = (24, 32)


def arrays():
    """Return the images of the files: sound, and of every odd kind."""
    rng = np.random.default_rng(7)
    image = rng.normal(1000, 30, SHAPE)
    holes = np.where(rng.random(SHAPE) < 0.2, np.nan, image)
    return {
        'u2': image.astype('u2'),
        'u1': (image / 8).astype('u1'),
        'f4': image.astype('f4'),
        'f8': image,
        'i2': image.astype('i2'),
        'i8': image.astype('i8'),
        'nan': holes.astype('f4'),
        'all-nan': np.full(SHAPE, np.nan, 'f4'),
        'inf': np.full(SHAPE, np.inf),
        'zeros': np.zeros(SHAPE, 'u2'),
        'constant': np.full(SHAPE, 65535, 'u2'),
        'pixel': np.ones((1, 1), 'u2'),
        'row': np.ones((1, 40), 'f4'),
        'cube': rng.integers(0, 4096, (5, 6, 7)).astype('u2'),
        'colour': rng.integers(0, 4096, (*SHAPE, 3)).astype('u2'),
        'colour8': rng.integers(0, 256, (*SHAPE, 3)).astype('u1'),
        'four': np.zeros((2, 3, 4, 5), 'f4'),
    }


def fits_bytes(*hdus):
    """Return HDUs as a file."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        fits.HDUList(list(hdus)).writeto(stream, output_verify='ignore')
    return stream.getvalue()


def fits_seeds():
    """Return FITS files: each image, units, extensions, compressions."""
    images = arrays()
    image = images['u2']
    wcs = {'CTYPE1': 'RA---TAN', 'CTYPE2': 'DEC--TAN', 'CRVAL1': 10.0, 'CDELT1': 0.1}
    head = fits.Header({'BUNIT': 'adu', 'DATE-OBS': '2020-01-01T00:00:00', **wcs})
    plain = fits_bytes(fits.PrimaryHDU(image, head))
    seeds = [fits_bytes(fits.PrimaryHDU(a)) for a in images.values()]
    units = ('electron/s', 'furlong', 'm/', 'mag(AB)', '10**-20 Jy', ')(')
    heads = [fits.Header({'BUNIT': unit}) for unit in units]
    seeds += [fits_bytes(fits.PrimaryHDU(image, header)) for header in heads]
    scaled = fits.PrimaryHDU(images['i2'], fits.Header({'BLANK': 1000}))
    scaled.header['BSCALE'], scaled.header['BZERO'] = 0.5, 7.0
    table = fits.BinTableHDU.from_columns([fits.Column('a', 'J', array=[1, 2])])
    mask = fits.ImageHDU((image > 1050).astype('u1'), name='MASK')
    sigma = fits.ImageHDU(np.sqrt(image), fits.Header({'UTYPE': 'StdDevUncertainty'}))
    sigma.name = 'UNCERT'
    seeds += [
        plain,
        fits_bytes(scaled),
        fits_bytes(fits.PrimaryHDU(image, head), mask, sigma),
        fits_bytes(fits.PrimaryHDU(), table, fits.ImageHDU(images['f4'])),
        fits_bytes(fits.PrimaryHDU(), table),
        fits_bytes(fits.PrimaryHDU(), fits.CompImageHDU(image)),
        gzip.compress(plain, mtime=0),
        bz2.compress(plain),
    ]
    return seeds


def written_seeds(folder, suffix, names, header=None):
    """Return what `write_image` makes of some images."""
    from astropy.nddata import CCDData

    from astroflat.io import write_image

    images, seeds = arrays(), []
    for name in names:
        for compress in (False, True) if suffix != 'png' else (False,):
            path = folder / f'seed-{name}-{compress}.{suffix}'
            ccd = CCDData(images[name], unit='adu', meta=header or {'OBJECT': 'M 31'})
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                write_image(ccd, path, compress=compress)
            seeds.append(path.read_bytes())
            path.unlink()
    return seeds


def tiff_seeds(folder):
    """Return TIFF files of astroflat, and of other programs."""
    import tifffile

    images = arrays()
    seeds = written_seeds(
        folder, 'tif', ['u1', 'u2', 'f4', 'nan', 'zeros', 'pixel', 'colour']
    )
    options = [
        ('i2', {}),
        ('f8', {'byteorder': '>'}),
        ('u2', {'bigtiff': True}),
        ('u2', {'rowsperstrip': 5, 'compression': 'zlib', 'predictor': True}),
        ('u2', {'tile': (16, 16)}),
        ('cube', {'photometric': 'minisblack'}),
        ('colour', {'photometric': 'rgb', 'planarconfig': 'contig'}),
        ('constant', {'photometric': 'miniswhite'}),
    ]
    for name, option in options:
        stream = io.BytesIO()
        tifffile.imwrite(stream, images[name], **option)
        seeds.append(stream.getvalue())
    return seeds


def png_seeds(folder):
    """Return PNG files of astroflat and of Pillow."""
    from PIL import Image

    seeds = written_seeds(
        folder, 'png', ['u1', 'u2', 'zeros', 'constant', 'pixel', 'colour', 'colour8']
    )
    grey = Image.fromarray(arrays()['u1'])
    for mode in ('1', 'L', 'LA', 'P', 'RGB', 'RGBA'):
        stream = io.BytesIO()
        grey.convert(mode).save(stream, format='PNG')
        seeds.append(stream.getvalue())
    return seeds


def ser_seeds(folder):
    """Return SER videos of one and two bytes, grey and colour, with times."""
    from astroflat.io import ticks_to_time, write_ser

    images, seeds = arrays(), []
    clock = ticks_to_time(637134336000000000 + np.arange(5) * 400_000)
    for frames, depth in [
        (images['cube'], 12),
        ((images['cube'] >> 4).astype('u1'), 8),
        (images['colour'][np.newaxis], 12),
        (np.zeros((5, 6, 8), 'u2'), 16),
        (images['pixel'][np.newaxis], 16),
    ]:
        path = folder / 'seed.ser'
        times = clock if len(frames) == 5 else None
        write_ser(path, frames, bit_depth=depth, times=times, overwrite=True)
        seeds.append(path.read_bytes())
        path.unlink()
    return seeds


def card():
    """Return the card of the small networks."""
    from astroflat.neural import ModelCard

    slot = ({'name': 'x', 'channels': 1, 'meaning': 'frame'},)
    extra = {'blur': [0.1, 0.2], 'cells': {'side': 8}}
    return ModelCard(
        'tiny', 'denoise', version='1', inputs=slot, outputs=slot, extra=extra
    )


def onnx_seeds():
    """Return networks of a kilobyte, with and without a card."""
    path = Path(__file__).parents[1] / 'neural' / 'conftest.py'
    made = runpy.run_path(str(path))
    return [
        made['build'](card=card()),
        made['build'](layers=(('Conv', 2, 3), ('Relu',), ('Conv', 1, 1)), card=card()),
        made['build_skip'](card=card()),
        made['build'](),
    ]


def make_seeds(folder):
    """
    Return the sound files of each format.

    Parameters
    ----------
    folder : `pathlib.Path`
        Where files may be written meanwhile.

    Returns
    -------
    seeds : dict of str to list of bytes
        The files.
    """
    names = ['u1', 'u2', 'f4', 'f8', 'nan', 'all-nan', 'zeros', 'pixel', 'colour']
    header = fits.Header([('OBJECT', 'M 31'), ('EXPTIME', 2.5), ('BUNIT', 'adu')])
    return {
        'ser': ser_seeds(folder),
        'fits': fits_seeds(),
        'tiff': tiff_seeds(folder),
        'png': png_seeds(folder),
        'xisf': written_seeds(folder, 'xisf', names, header),
        'onnx': onnx_seeds(),
        'card': [card().to_json().encode()],
    }
