# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Noise2Void of CAREamics on given images; it runs in an environment of its own.

``python denoise_n2v.py IN.npz OUT.npz SECONDS``: trains on the images ``images`` of
the file, ``(n, ny, nx)`` with noise of standard deviation 1, for some time of the
processor, and writes ``images``, the ``train`` and ``predict`` times in seconds, the
``epochs`` and the ``version``.
"""

from __future__ import annotations

import sys
import tempfile
import time

import careamics
import numpy as np
from careamics.config import create_advanced_n2v_config
from lightning.pytorch.callbacks import Callback


class Clock(Callback):
    """Ends a training in time."""

    def __init__(self, seconds):
        self.end, self.epochs = time.process_time() + seconds, 0

    def on_train_batch_end(self, trainer, *_):
        """Look at the clock."""
        trainer.should_stop = time.process_time() > self.end

    def on_train_epoch_end(self, *_):
        """Count."""
        self.epochs += 1


def main():
    """Train and predict."""
    source, target, seconds = sys.argv[1:]
    images = np.load(source)['images'].astype(np.float32)
    config = create_advanced_n2v_config(
        experiment_name='frames',
        data_type='array',
        axes='SYX',
        patch_size=(64, 64),
        batch_size=16,
        num_epochs=1000,
        use_n2v2=True,
        num_workers=0,
        seed=1,
    )
    clock = Clock(float(seconds))
    with tempfile.TemporaryDirectory() as folder:
        trainer = careamics.CAREamist(
            config, work_dir=folder, callbacks=[clock], enable_progress_bar=False
        )
        start = time.process_time()
        trainer.train(train_data=images, val_data=images[:1])
        middle = time.process_time()
        found, _ = trainer.predict(images, tile_size=(128, 128), batch_size=4)
        end = time.process_time()
    np.savez(
        target,
        images=np.squeeze(np.array(found)).reshape(images.shape),
        train=middle - start,
        predict=end - middle,
        epochs=clock.epochs,
        version=careamics.__version__,
    )


if __name__ == '__main__':
    main()
