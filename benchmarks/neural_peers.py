# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What ``benchmarks/neural.py`` measures beside the networks in ONNX Runtime.

Each function takes a two-dimensional float32 frame. `PEERS` are other ways to even
out a sky, `TORCH` the same networks in eager PyTorch (with weights of no meaning:
the time does not depend on them), `CALLS` whole calls of astroflat.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

__all__ = ['CALLS', 'PEERS', 'TORCH']


def background_2d(frame):
    """Subtract the background of photutils, in its default way."""
    from photutils.background import Background2D

    return frame - Background2D(frame, (64, 64), filter_size=(3, 3)).background


def siril_subsky(frame):
    """Let Siril subtract polynomials of degree 4 from two frames; files count."""
    from astropy.io import fits

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # One frame is no sequence for Siril, and its ``subsky`` fails in scripts.
        for number in (1, 2):
            fits.writeto(folder / f'frame_{number:05d}.fit', frame)
        script = folder / 'script.ssf'
        script.write_text(
            'requires 1.0.0\nset32bits\nsetext fit\nseqsubsky frame_ 4\nclose\n'
        )
        # Its settings are kept out of the home of the user.
        env = {**os.environ, 'HOME': name, 'XDG_CONFIG_HOME': name}
        command = ['siril-cli', '-d', name, '-s', str(script)]
        subprocess.run(command, env=env, check=True, capture_output=True)
        return fits.getdata(folder / 'bkg_frame_00001.fit')


def _corrector(frame, device):
    """Estimate both fields and apply them."""
    import astroflat as af

    return af.FlatCorrector(device=device).estimate(frame).correct(frame)


def _denoiser(frame, device):
    """Denoise a frame of known noise."""
    import astroflat as af

    return af.Denoiser(device=device).denoise(frame, gain=1.0, readnoise=5.0)


@functools.cache
def _torch_net(name, device):
    import torch

    from astroflat.training._unet import DenoiseNet
    from astroflat.training.flat_nets import DustNet, FieldsNet

    torch.manual_seed(0)
    made = {'flat-fields': FieldsNet, 'flat-dust': DustNet, 'denoise-sky': DenoiseNet}
    return made[name]().eval().to(device)


def _torch_cells(name, channels, block, frame, device):
    """Run a network of cells on the whole frame in one piece."""
    import torch

    ny, nx = (8 * (side // (8 * block)) for side in frame.shape)
    cells = np.random.default_rng(0).standard_normal((1, channels, ny, nx))
    with torch.inference_mode():
        values = torch.from_numpy(cells.astype(np.float32)).to(device)
        out = _torch_net(name, device)(values)
        out = out if isinstance(out, tuple) else (out,)
        return [part.cpu() for part in out]


def _torch_tiles(name, frame, device):
    """Run a network of pixels in the tiles that astroflat takes."""
    import torch

    from astroflat.neural import apply_tiled, find_model

    card = find_model(name).card

    def function(tiles):
        with torch.inference_mode():
            out = _torch_net(name, device)(torch.from_numpy(tiles).to(device))
            return out.cpu().numpy()

    return apply_tiled(function, frame[None], halo=card.halo, multiple=card.multiple)


PEERS = {'photutils Background2D': background_2d}
if shutil.which('siril-cli'):
    PEERS['siril seqsubsky, two frames'] = siril_subsky
CALLS = {'FlatCorrector': _corrector, 'Denoiser': _denoiser}
TORCH = {
    'torch: flat-dust': functools.partial(_torch_cells, 'flat-dust', 34, 4),
    'torch: denoise-sky': functools.partial(_torch_tiles, 'denoise-sky'),
}
