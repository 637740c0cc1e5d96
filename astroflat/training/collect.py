# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Collect public images to train with, politely, with licence and credit of each.

Nothing is fetched unless it is asked for here.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroflat.training._collect_check import digest, look_at, refuse_markup
from astroflat.training._collect_http import (
    Fetcher,
    RefusedError,
    name_of,
    query_of,
)
from astroflat.training._collect_manifest import Manifest
from astroflat.training._collect_sources import IMAGES, CollectItem, find_items

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ['CollectItem', 'CollectReport', 'collect_images', 'query_archive']


@dataclass(frozen=True)
class CollectReport:
    """
    What `collect_images` did.

    Parameters
    ----------
    files : list of `pathlib.Path`
        Images that are new in the folder.

    counts : dict
        How many were ``kept``, ``refused``, ``failed``, and ``known`` before.

    reasons : dict
        How many were not kept for which reason.

    items : list of CollectItem
        What was found; for a dry run, what would be fetched.
    """

    files: list[Path] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    items: list[CollectItem] = field(default_factory=list)


@dataclass(frozen=True)
class _Rules:
    """
    What is kept.

    Parameters
    ----------
    licence, credit : str
        What holds where a source says nothing.
    min_size : int
        Shorter side in pixels.
    any_licence : bool
        Whether images without a licence are kept.
    keep_partial : bool
        Whether what is incomplete stays for another time.
    """

    licence: str
    credit: str
    min_size: int
    any_licence: bool
    keep_partial: bool


def collect_images(
    source: Any,
    folder: str | os.PathLike,
    *,
    licence: str = '',
    credit: str = '',
    min_size: int = 512,
    max_images: int | None = None,
    max_pages: int = 20,
    any_licence: bool = False,
    contact: str = '',
    delay: float = 1.0,
    timeout: float = 30.0,
    retries: int = 4,
    max_bytes: float = 500e6,
    keep_partial: bool = False,
    dry_run: bool = False,
    on_item: Callable[[CollectItem, str], None] | None = None,
    fetcher: Fetcher | None = None,
) -> CollectReport:
    """
    Fetch images into a folder, with a table of where they are from.

    Parameters
    ----------
    source : str, path-like, table or list
        A file with addresses (one a line, or CSV or JSON with fields ``url``,
        ``title``, ``credit``, ``licence``); the address of an image, of a page
        of an image or an archive, or of a Data2Dome feed such as that of
        ESA/Hubble; a table as `query_archive` returns it; or a list of these.

    folder : path-like
        Where to. It is made if it is not there.

    licence, credit : str, optional
        What holds where the source says nothing.

    min_size : int, optional
        Images with a shorter side than this are refused.

    max_images : int, optional
        Stop after so many new ones.

    max_pages : int, optional
        How many pages of a feed or an archive are read.

    any_licence : bool, optional
        Whether images without a known licence are kept. By default they are not
        even fetched.

    contact : str, optional
        An address for those who run the server, sent with each request.

    delay : float, optional
        Seconds between requests to a host, at least; more if its ``robots.txt``
        asks for it.

    timeout : float, optional
        Seconds that a server may be silent.

    retries : int, optional
        How often something is tried again, after 2, 4, 8 ... seconds.

    max_bytes : float, optional
        The largest file; of a feed the largest image below it is taken.

    keep_partial : bool, optional
        Whether an incomplete file stays, as ``.NAME.part``, and is continued by
        the next call. By default nothing incomplete is left behind.

    dry_run : bool, optional
        Read lists and pages, but fetch no image.

    on_item : callable, optional
        Called with each image and what became of it: ``'kept'``, ``'known'``,
        ``'found'`` in a dry run, or a reason.

    fetcher : Fetcher, optional
        What sends the requests, in place of the one made of the options above.

    Returns
    -------
    report : CollectReport
        Files and numbers.

    Raises
    ------
    ValueError
        If a source is not of these kinds, or an option is out of range.

    OSError
        If a page or list of the source itself cannot be read.

    Notes
    -----
    ``manifest.ecsv`` in the folder has a row for each image: file, address, page,
    title, credit, licence, SHA-256, size, when it was fetched, and why it was not
    kept. What it knows is not fetched again. Images that are the same to the byte,
    or look the same in another size or format, are kept once. Pages in place of
    images, damaged and incomplete files are refused.

    Examples
    --------
    >>> import tempfile
    >>> from astroflat.training.collect import CollectItem, collect_images
    >>> items = [CollectItem('https://example.org/m31.tif', licence='CC BY 4.0')]
    >>> report = collect_images(items, tempfile.mkdtemp(), dry_run=True)
    >>> len(report.items)
    1
    """
    for name, value in (('min_size', min_size), ('max_pages', max_pages)):
        if value < 1:
            msg = f'{name} must be at least 1, not {value!r}'
            raise ValueError(msg)
    fetcher = fetcher or Fetcher(
        _agent(contact), delay, timeout, retries, max_bytes=max_bytes
    )
    rules = _Rules(licence, credit, min_size, any_licence, keep_partial)
    folder = Path(folder)
    if not dry_run:
        folder.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(folder, {'collected_by': fetcher.user_agent})
    work = _Work(fetcher, folder, manifest, rules, on_item or _silent)
    for item in find_items(source, fetcher, max_pages=max_pages):
        if dry_run:
            work.list_only(item)
        else:
            work.take(item)
        if max_images is not None and len(work.files or work.found) >= max_images:
            break
    return work.report()


class _UnwantedError(ValueError):
    """An image that is one, but is not kept."""

    def __init__(self, message: str, values: dict[str, Any]) -> None:
        super().__init__(message)
        self.values = values


_ENDINGS = {
    'fits': '.fits',
    'tiff': '.tif',
    'png': '.png',
    'jpeg': '.jpg',
    'xisf': '.xisf',
}


class _Work:
    """One collection: item after item."""

    def __init__(
        self,
        fetcher: Fetcher,
        folder: Path,
        manifest: Manifest,
        rules: _Rules,
        tell: Callable[[CollectItem, str], None],
    ) -> None:
        self.fetcher, self.folder, self.manifest = fetcher, folder, manifest
        self.rules, self.tell = rules, tell
        self.files: list[Path] = []
        self.found: list[CollectItem] = []
        self.items: list[CollectItem] = []
        self.counts: Counter = Counter()
        self.reasons: Counter = Counter()

    def report(self) -> CollectReport:
        """Return what was done."""
        return CollectReport(
            self.files, dict(self.counts), dict(self.reasons), self.items
        )

    def list_only(self, item: CollectItem) -> None:
        """Note an image that would be fetched."""
        item = self._completed(item)
        self.items.append(item)
        if not item.licence and not self.rules.any_licence:
            self.counts['failed'] += 1
            self.reasons['no licence known'] += 1
            self.tell(item, 'no licence known')
            return
        self.found.append(item)
        self.counts['found'] += 1
        self.tell(item, 'found')

    def take(self, item: CollectItem) -> None:
        """Fetch an image, if it is new and may be kept."""
        item = self._completed(item)
        self.items.append(item)
        if self.manifest.done(item.url, self.rules.min_size):
            self.counts['known'] += 1
            self.tell(item, 'known')
            return
        if not item.licence and not self.rules.any_licence:
            # Not for good: one may be given by the next call.
            self._skip(item, 'failed', 'no licence known')
            return
        target = self._target(item)
        part = target.with_name(f'.{target.name}.part')
        try:
            self._fetch(item, target, part)
        except RefusedError as error:
            # It may be there another day: the next call tries again.
            self._skip(item, 'failed', str(error))
        except ValueError as error:
            self._skip(item, 'refused', str(error), **getattr(error, 'values', {}))
            _remove(part)
        finally:
            if not self.rules.keep_partial:
                _remove(part)

    def _completed(self, item: CollectItem) -> CollectItem:
        """Return an item with what holds for the whole source."""
        return replace(
            item,
            licence=item.licence or self.rules.licence,
            credit=item.credit or self.rules.credit,
        )

    def _skip(self, item: CollectItem, status: str, reason: str, **values: Any) -> None:
        """Note why an image is not kept."""
        self.counts[status] += 1
        self.reasons[reason] += 1
        self.manifest.add(item, status, reason=reason, **values)
        self.tell(item, reason)

    def _fetch(self, item: CollectItem, target: Path, part: Path) -> None:
        """Fetch an image under a hidden name, look at it, and name it."""
        transfer = self.fetcher.file(item.url, part)
        refuse_markup(part, transfer.content_type)
        picture = look_at(part)
        checksum = digest(part)
        values = {
            'sha256': checksum,
            'bytes': part.stat().st_size,
            'width': picture.width,
            'height': picture.height,
            'format': picture.format,
            'look': picture.look,
        }
        if min(picture.width, picture.height) < self.rules.min_size:
            msg = f'too small: {picture.width} × {picture.height}'
            raise _UnwantedError(msg, values)
        twin = self.manifest.twin(checksum, picture)
        if twin:
            msg = f'the same as {twin}'
            raise _UnwantedError(msg, values)
        if not target.name.lower().endswith(IMAGES):
            ending = _ENDINGS.get(picture.format, '')
            target = self._free(f'{target.name}{ending}', item)
        part.replace(target)
        _remove(part)
        self.manifest.add(item, 'kept', file=target.name, **values)
        self.files.append(target)
        self.counts['kept'] += 1
        self.tell(item, 'kept')

    def _target(self, item: CollectItem) -> Path:
        """Return a free name that no file system minds."""
        names = (name_of(item.url), query_of(item.url).rsplit('/', 1)[-1], item.title)
        good = [name for name in names if name.lower().endswith(IMAGES)]
        name = re.sub(r'[^\w.-]+', '_', (good or names)[0]).lstrip('._') or 'image'
        return self._free(name[-120:], item)

    def _free(self, name: str, item: CollectItem) -> Path:
        """Return a name that is not taken."""
        path = self.folder / name
        if not path.exists() and name != Manifest.name:
            return path
        mark = hashlib.sha256(item.url.encode()).hexdigest()[:8]
        return path.with_name(f'{mark}_{path.name}')


def query_archive(*, max_products: int = 100, **criteria: Any) -> Any:
    """
    Ask the MAST archive for public, calibrated, combined images.

    Parameters
    ----------
    max_products : int, optional
        How many images at most.

    **criteria
        As in ``astroquery.mast.Observations.query_criteria``, such as
        ``obs_collection='HST'``, ``instrument_name='ACS/WFC'``,
        ``objectname='M 51'``, ``radius='3 arcmin'``.

    Returns
    -------
    table : `~astropy.table.Table`
        For `collect_images`: ``url``, ``title``, ``credit``, ``licence``.

    Raises
    ------
    ImportError
        If astroquery is not installed.

    ValueError
        If there are no criteria, or nothing is found.

    Notes
    -----
    Only products with public rights, of type SCIENCE, drizzled or combined (DRZ,
    DRC, I2D), are listed. The terms of the archive hold, which the column
    ``licence`` names.

    Examples
    --------
    >>> from astroflat.training.collect import query_archive
    >>> table = query_archive(obs_collection='HST', objectname='M 51')  # doctest: +SKIP
    """
    try:
        from astroquery.mast import Observations
    except ImportError as error:
        msg = 'queries of archives need astroquery: pip install astroquery'
        raise ImportError(msg) from error
    if not criteria:
        msg = 'criteria must be given, such as obs_collection and objectname'
        raise ValueError(msg)
    observations = Observations.query_criteria(
        dataRights='PUBLIC', dataproduct_type='image', intentType='science', **criteria
    )
    if len(observations) == 0:
        msg = f'the archive has nothing for {criteria}'
        raise ValueError(msg)
    products = Observations.filter_products(
        Observations.get_product_list(observations),
        productType='SCIENCE',
        productSubGroupDescription=['DRZ', 'DRC', 'I2D'],
        extension='fits',
    )
    return _products(products, max_products)


_MAST = 'https://mast.stsci.edu/api/v0.1/Download/file?uri='
_TERMS = 'public data of MAST, see https://archive.stsci.edu/publishing/data-use'


def _products(products: Any, max_products: int) -> Any:
    """Return products of the archive as a table of addresses."""
    from astropy.table import Table

    rows, seen = [], set()
    for product in products:
        name = str(product['productFilename'])
        if name in seen or len(rows) == max_products:
            continue
        seen.add(name)
        mission = str(product['obs_collection'])
        rows.append(
            (
                f'{_MAST}{product["dataURI"]}',
                name,
                f'{mission}, proposal {product["proposal_id"]}, MAST at STScI',
                _TERMS,
            )
        )
    if not rows:
        msg = 'the archive has no combined images for this'
        raise ValueError(msg)
    return Table(rows=rows, names=('url', 'title', 'credit', 'licence'))


def _agent(contact: str) -> str:
    """Return how requests introduce themselves."""
    from astroflat import __version__

    more = f'; {contact}' if contact else ''
    return f'astroflat/{__version__} (image collector{more})'


def _remove(part: Path) -> None:
    """Remove what was incomplete."""
    part.unlink(missing_ok=True)
    part.with_name(f'{part.name}.tag').unlink(missing_ok=True)


def _silent(*_: Any) -> None:
    """Tell nobody."""
