# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Images beside each other, and text below them."""

import numpy as np
import pytest

from astroflat.visualization import plot_comparison

LONG = (
    'ten frames, and so many words about them that no line of a figure holds them all '
    * 3
)


@pytest.mark.parametrize('n_images', [1, 2, 3])
def test_long_lines_stay_inside_and_leave_the_images_alone(n_images):
    """Text is broken at the width of the figure, and images keep their size."""
    rng = np.random.default_rng(1)
    images = [(f'image {i}', rng.normal(size=(40, 60)), 'sky') for i in range(n_images)]
    widths = []
    for lines in (['short'] * 9, [LONG] + ['short'] * 3):
        figure = plot_comparison([('row', images)], lines=lines)
        figure.draw_without_rendering()
        text = figure.axes[-1].texts[0]
        box = text.get_window_extent()
        assert box.x1 <= figure.bbox.x1
        assert box.y0 >= figure.bbox.y0
        widths.append(figure.axes[0].get_window_extent().width)
    assert widths[1] == pytest.approx(widths[0], rel=0.1)


def test_no_word_is_lost():
    """Broken lines hold all words, short ones stay as they are."""
    image = np.random.default_rng(1).normal(size=(40, 60))
    figure = plot_comparison(
        [('row', [('one', image, 'sky')])], lines=[LONG, '  a  b', '']
    )
    shown = figure.axes[-1].texts[0].get_text()
    assert shown.split() == [*LONG.split(), 'a', 'b']
    assert '\n  a  b\n' in shown
