# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Which stars tell the aberrations of a telescope, and what they say together."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroflat.psf._errors import TooFewStarsError
from astroflat.psf._wavefront_map import degree_for, fit_coefficients
from astroflat.psf._zernike_problem import Problem
from astroflat.psf.zernikes import is_even

if TYPE_CHECKING:
    from astropy.table import Table

    from astroflat.psf._star_choice import Candidate
    from astroflat.psf._wavefront_map import CoefficientMap
    from astroflat.psf.optics import Telescope
    from astroflat.psf.zernikes import ZernikeFit

__all__ = ['Fitter', 'choose_stars']

# So many stars tell the seeing.
_FOR_SEEING = 12
# Stars are taken from this many cells along each axis in turn.
_CELLS = 4
# A fit this much off its star is not one of a star.
_MAX_MISFIT = 0.08


@dataclass(frozen=True)
class _Star:
    """
    A star and what is known of its noise.

    Parameters
    ----------
    candidate : Candidate
        The stamp.
    sigma : ndarray or None
        Standard deviations.
    """

    candidate: Candidate
    sigma: np.ndarray | None


def choose_stars(
    image: Any,
    mask: Any,
    saturation: float | None,
    *,
    fwhm: float | None,
    min_snr: float,
    n: int,
    gain: float | None,
) -> tuple[list[_Star], tuple[int, int], dict[str, int]]:
    """Return the stars to fit, the shape of the image, and why others are not."""
    from astroflat.psf._star_sky import Sky
    from astroflat.psf.stars import _guess_width

    sky = Sky.of(image, mask, saturation, fwhm)
    width = fwhm or _guess_width(sky, min_snr)
    choice = sky.choose(width, min_snr)
    chosen = _spread(choice.stars, sky.data.shape, n)
    stars = [_Star(c, _noise(c.stamp, sky.noise, gain)) for c in chosen]
    return stars, sky.data.shape, dict(choice.refused)


def _spread(stars: list[Candidate], shape: tuple[int, int], n: int) -> list[Candidate]:
    """Return the brightest stars, from each part of the image in turn."""
    rank: dict[tuple[int, int], int] = {}
    order = []
    for i, star in enumerate(stars):
        x, y = star.x + star.place[0], star.y + star.place[1]
        cell = int(_CELLS * y / shape[0]), int(_CELLS * x / shape[1])
        rank[cell] = rank.get(cell, -1) + 1
        order.append((rank[cell], i))
    return [stars[i] for _, i in sorted(order)[:n]]


def _noise(stamp: np.ndarray, noise: float, gain: float | None) -> np.ndarray | None:
    """Return the standard deviation of the pixels of a star, if it is known."""
    if gain is None:
        return None
    from scipy.ndimage import gaussian_filter

    # Of smoothed counts: where noise made a pixel faint it would count for more.
    light = np.maximum(gaussian_filter(stamp, 1.0), 0)
    return np.sqrt(max(noise, 1e-30) ** 2 + light / gain)


class Fitter:
    """Fit stars, then what is smooth in them."""

    def __init__(
        self,
        telescope: Telescope,
        terms: tuple[int, ...],
        known: bool,
        n_threads: int | None,
    ) -> None:
        from astroflat._arrays import n_threads as count_threads

        self.telescope, self.terms, self.known = telescope, terms, known
        self.workers = count_threads(n_threads)

    def run(
        self,
        stars: list[_Star],
        shape: tuple[int, int],
        degree: int,
        refused: dict[str, int],
    ) -> tuple[Telescope, CoefficientMap, Table]:
        """Return the telescope with its seeing, the polynomials and the stars."""
        if not self.known and stars:
            self.telescope = self._with_seeing(stars)
        fits = self._fit(stars, [None] * len(stars))
        rows = [i for i, fit in enumerate(fits) if _is_star(fit)]
        refused['not like a star'] = len(stars) - len(rows)
        degree = degree_for(len(rows), degree)
        if degree < 0:
            why = ', '.join(f'{n} {reason}' for reason, n in refused.items() if n)
            msg = (
                f'{len(rows)} usable stars, but 3 are needed (left out: {why or "none"}'
                '); lower min_snr, or give fwhm'
            )
            raise TooFewStarsError(msg)
        stars, fits = [stars[i] for i in rows], [fits[i] for i in rows]
        smooth = self._smooth(stars, fits, shape, degree)[0]
        # Again, from what the neighbours say: a star may have been caught elsewhere.
        places = [_place(*pair) for pair in zip(stars, fits, strict=True)]
        again = self._fit(stars, [smooth.at(*place) for place in places])
        fits = [_better(old, new) for old, new in zip(fits, again, strict=True)]
        smooth, signs, used = self._smooth(stars, fits, shape, degree)
        table = self._table(stars, fits, signs, used)
        table.meta.update(shape=list(shape), refused=refused)
        return self.telescope, smooth, table

    def _with_seeing(self, stars: list[_Star]) -> Telescope:
        """Return the telescope in the air that the brightest stars tell."""
        from dataclasses import replace

        fits = self._fit(stars[:_FOR_SEEING], [None] * len(stars[:_FOR_SEEING]))
        found = [fit.seeing for fit in fits if _is_star(fit)]
        if not found:
            msg = (
                f'none of the {len(fits)} brightest objects is the image of a star by '
                'this telescope; check pixel_scale and pupil_diameter, or give fwhm'
            )
            raise TooFewStarsError(msg)
        return replace(self.telescope, seeing=float(np.median(found)))

    def _fit(
        self, stars: list[_Star], starts: list[dict[int, float] | None]
    ) -> list[ZernikeFit | None]:
        """Fit stars, several at a time."""
        seeing = self.telescope.seeing or None

        def one(star: _Star, start: dict[int, float] | None) -> ZernikeFit | None:
            c = star.candidate
            problem = Problem(
                self.telescope,
                self.terms,
                np.asarray(c.stamp, np.float64),
                c.good & np.isfinite(c.stamp) & ~c.full,
                star.sigma,
                max(seeing, 1e-3) if seeing or self.known else None,
            )
            try:
                # Where that is not enough, the neighbours tell a better start.
                return problem.solve(start, n_starts=2)
            except ValueError:
                return None

        with ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(one, stars, starts))

    def _smooth(
        self,
        stars: list[_Star],
        fits: list[ZernikeFit],
        shape: tuple[int, int],
        degree: int,
    ) -> tuple[CoefficientMap, np.ndarray, np.ndarray]:
        """Put polynomials through the coefficients."""
        places = [_place(*pair) for pair in zip(stars, fits, strict=True)]
        x, y = np.array(places).T
        values = np.array([list(fit.coefficients.values()) for fit in fits])
        errors = np.array([list(fit.errors.values()) for fit in fits])
        return fit_coefficients(
            x, y, values, errors, terms=self.terms, shape=shape, degree=degree
        )

    def _table(
        self,
        stars: list[_Star],
        fits: list[ZernikeFit],
        signs: np.ndarray,
        used: np.ndarray,
    ) -> Table:
        """Return the stars as a table."""
        from astropy.table import Table

        places = [_place(*pair) for pair in zip(stars, fits, strict=True)]
        columns: dict[str, Any] = dict(zip('xy', np.array(places).T, strict=True))
        for j in self.terms:
            sign = signs if is_even(j) else 1
            columns[f'z{j}'] = sign * np.array([fit.coefficients[j] for fit in fits])
            columns[f'z{j}_err'] = np.array([fit.errors[j] for fit in fits])
        for name in ('flux', 'misfit', 'chi2'):
            columns[name] = np.array([getattr(fit, name) for fit in fits])
        return Table({**columns, 'used': used})


def _is_star(fit: ZernikeFit | None) -> bool:
    """Tell whether a fit is one of a star."""
    return fit is not None and fit.misfit < _MAX_MISFIT and math.isfinite(fit.flux)


def _place(star: _Star, fit: ZernikeFit) -> tuple[float, float]:
    """Return the place of a star in the image."""
    return star.candidate.x + fit.x, star.candidate.y + fit.y


def _better(old: ZernikeFit, new: ZernikeFit | None) -> ZernikeFit:
    """Return the fit that neighbours suggest, unless the star itself denies it."""
    if not _is_star(new):
        return old
    # In units of the noise, or of the residuals where that is not known.
    worse = (
        new.chi2 - old.chi2
        if old.chi2 != 1 or new.chi2 != 1
        else (new.misfit / old.misfit) ** 2 - 1
    )
    return new if worse < 0.01 else old
