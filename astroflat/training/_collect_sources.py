# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Where images are: lists, pages, feeds of archives, and queries."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroflat.training._collect_http import join_url, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from astroflat.training._collect_http import Fetcher

__all__ = ['IMAGES', 'CollectItem', 'find_items', 'is_address']

IMAGES = (
    '.fits',
    '.fit',
    '.fts',
    '.fits.gz',
    '.tif',
    '.tiff',
    '.png',
    '.jpg',
    '.jpeg',
    '.xisf',
)
# Names that lists and feeds use for the same thing, the first that is there counts.
_NAMES = {
    'url': ('url', 'URL', 'href', 'link', 'image', 'access_url', 'dataURL'),
    'title': ('title', 'Title', 'name', 'obs_title', 'target_name'),
    'credit': ('credit', 'Credit', 'author', 'creator', 'proposal_pi'),
    'licence': ('licence', 'license', 'Rights', 'rights', 'License'),
    'page': ('page', 'ReferenceURL', 'source', 'reference'),
}
_LICENCE_LINK = re.compile(r'creativecommons\.org/(licenses|publicdomain)/([\w/.-]+)')


@dataclass(frozen=True)
class CollectItem:
    """
    An image that may be fetched.

    Parameters
    ----------
    url : str
        Its address.
    title, credit, licence, page : str
        What is known of it.
    """

    url: str
    title: str = ''
    credit: str = ''
    licence: str = ''
    page: str = ''


def is_address(text: Any) -> bool:
    """
    Tell whether something is the address of a web page.

    Parameters
    ----------
    text : object
        What was given.

    Returns
    -------
    address : bool
        Whether it begins like one.
    """
    return isinstance(text, str) and text.lower().startswith(('http://', 'https://'))


def find_items(
    source: Any, fetcher: Fetcher, *, max_pages: int
) -> Iterator[CollectItem]:
    """
    Find the images of a source, one after the other.

    Parameters
    ----------
    source : str, path-like, table or list
        A list of addresses in a file (text, CSV, JSON), the address of an image,
        a page or a feed, a table with a column of addresses, or a list of all
        these.

    fetcher : Fetcher
        Fetches pages.

    max_pages : int
        How many pages of a feed or an archive are read.

    Yields
    ------
    item : CollectItem
        An image.
    """
    if isinstance(source, CollectItem):
        yield source
    elif is_address(source):
        if name_of(source).lower().endswith(IMAGES):
            yield CollectItem(source)
        else:
            yield from _pages(source, fetcher, max_pages)
    elif hasattr(source, 'colnames'):
        names = source.colnames
        yield from _records([dict(zip(names, row, strict=True)) for row in source])
    elif isinstance(source, (str, Path)):
        yield from _from_file(Path(source))
    else:
        for one in source:
            yield from find_items(one, fetcher, max_pages=max_pages)


def _from_file(path: Path) -> list[CollectItem]:
    """Read a list from a file."""
    text = path.read_text(encoding='utf-8-sig')
    if path.suffix.lower() == '.json':
        return _from_json(json.loads(text), '', math.inf)[0]
    if path.suffix.lower() in ('.csv', '.tsv'):
        delimiter = '\t' if path.suffix.lower() == '.tsv' else ','
        rows = csv.DictReader(io.StringIO(text), delimiter=delimiter)
        return _records(rows, place=path.name)
    lines = (
        line.split('#', 1)[0] if line.lstrip().startswith('#') else line
        for line in text.splitlines()
    )
    addresses = [line.strip() for line in lines if line.strip()]
    wrong = [address for address in addresses if not is_address(address)]
    if wrong:
        msg = f'{path.name!r} has a line that is no address: {wrong[0]!r}'
        raise ValueError(msg)
    return [CollectItem(address) for address in addresses]


def _records(rows: Any, place: str = 'the table') -> list[CollectItem]:
    """Read records that have an address among their fields."""
    items = [item for item in map(_record, rows) if item is not None]
    if not items:
        msg = f'{place} has no column of addresses; call it {_NAMES["url"][0]!r}'
        raise ValueError(msg)
    return items


def _record(row: Any) -> CollectItem | None:
    """Read one record."""
    values = {}
    for field, names in _NAMES.items():
        found = [row[name] for name in names if row.get(name) not in (None, '')]
        values[field] = _plain(str(found[0])) if found else ''
    return CollectItem(**values) if is_address(values['url']) else None


def _pages(url: str, fetcher: Fetcher, max_pages: int) -> Iterator[CollectItem]:
    """Read pages or feeds, and those that they lead to."""
    waiting, seen, limit = [url], {url}, fetcher.max_bytes
    for _ in range(max_pages):
        if not waiting:
            return
        here = waiting.pop(0)
        text = fetcher.text(here)
        if text.lstrip()[:1] in ('{', '['):
            items, following = _from_json(json.loads(text), here, limit)
        else:
            items, following = _from_page(text, here)
        yield from items
        fresh = [link for link in following if link not in seen]
        waiting += fresh
        seen.update(fresh)


def _from_json(
    data: Any, base: str, limit: float
) -> tuple[list[CollectItem], list[str]]:
    """Read a list of addresses, of records, or a Data2Dome feed of an archive."""
    if isinstance(data, dict) and 'Collections' in data:
        items = [_from_collection(entry, limit) for entry in data['Collections']]
        more = [join_url(base, data['Next'])] if data.get('Next') else []
        return [item for item in items if item is not None], more
    if isinstance(data, dict):
        lists = [value for value in data.values() if isinstance(value, list)]
        data = lists[0] if lists else [data]
    strings = [CollectItem(one) for one in data if is_address(one)]
    rows = [one for one in data if isinstance(one, dict)]
    return strings + (_records(rows, 'the list') if rows else []), []


def _from_collection(entry: dict[str, Any], limit: float) -> CollectItem | None:
    """Take the largest image of an entry of a Data2Dome feed that is not too large."""
    resources = [
        one
        for asset in entry.get('Assets', ())
        for one in asset.get('Resources', ())
        if is_address(one.get('URL'))
        and name_of(one['URL']).lower().endswith(IMAGES)
        and (one.get('FileSize') or 0) <= limit
    ]
    if not resources:
        return None

    def size(resource: dict[str, Any]) -> tuple[float, float]:
        width, height = resource.get('Dimensions') or (0, 0)
        return float(width or 0) * float(height or 0), resource.get('FileSize') or 0

    best = max(resources, key=size)
    item = _record({**entry, 'url': best['URL']})
    return replace(item, url=best['URL']) if item else None


class _Page(HTMLParser):
    """Links, pictures, credit and licence of a page."""

    def __init__(self, base: str) -> None:
        super().__init__(convert_charrefs=True)
        self.base = base
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.licence = self.title = ''
        self.credit: list[str] = []
        self._in_credit = 0
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of what a tag points to."""
        values = {name: value or '' for name, value in attrs}
        if self._in_credit:
            self._in_credit += tag not in ('br', 'img', 'hr', 'input')
        elif 'credit' in values.get('class', '').lower().split():
            self._in_credit = 1
        self._in_title = tag == 'title'
        if tag == 'a' and values.get('href'):
            self._take_link(values)
        elif tag == 'link' and values.get('rel') == 'license':
            self.licence = self.licence or values.get('href', '')
        elif tag == 'img' and values.get('src'):
            self.pictures.append(join_url(self.base, values['src']))
        elif tag == 'meta' and values.get('name', '').lower() == 'copyright':
            self.credit.append(values.get('content', ''))

    def _take_link(self, values: dict[str, str]) -> None:
        """Take note of a link; one to a licence is one."""
        target = join_url(self.base, values['href'])
        found = _LICENCE_LINK.search(target)
        if 'license' in values.get('rel', '').split() or found:
            self.licence = self.licence or target
        else:
            self.links.append(target)

    def handle_endtag(self, tag: str) -> None:
        """Notice the end of a credit."""
        if self._in_credit and tag not in ('br', 'img', 'hr', 'input'):
            self._in_credit -= 1
        self._in_title = False

    def handle_data(self, data: str) -> None:
        """Collect the words of credits and of the title."""
        if self._in_credit:
            self.credit.append(data)
        elif self._in_title:
            self.title += data


def _from_page(text: str, base: str) -> tuple[list[CollectItem], list[str]]:
    """Read a page: the best image it links to, or the pages of images it lists."""
    page = _Page(base)
    page.feed(text)
    licence = _licence_name(page.licence)
    known = {
        'title': _plain(page.title),
        'credit': _plain(' '.join(page.credit)),
        'licence': licence,
        'page': base,
    }
    links = [link for link in page.links if name_of(link).lower().endswith(IMAGES)]
    if links:
        return [CollectItem(url, **known) for url in _best_of_each(links)], []
    return [], _listed(page, text, base)


def _best_of_each(links: list[str]) -> list[str]:
    """Return one address for each name: full frames in formats without loss first."""

    def order(link: str) -> tuple[int, int]:
        name = link.lower()
        formats = [('.fits', '.fit', '.fts', '.gz'), ('.tif', '.tiff'), ('.png',)]
        kind = next((i for i, ends in enumerate(formats) if name.endswith(ends)), 3)
        sizes = ('original', 'large', 'publication', 'screen', 'wallpaper', 'thumb')
        return next((i for i, word in enumerate(sizes) if word in name), 2), kind

    best: dict[str, str] = {}
    for link in sorted(dict.fromkeys(links), key=order):
        best.setdefault(name_of(link).split('.')[0].lower(), link)
    return list(best.values())


def _listed(page: _Page, text: str, base: str) -> list[str]:
    """Return the pages of single images that a page of an archive lists."""
    written = re.findall(r"""\burl\s*:\s*['"]([^'"]+)['"]""", text)
    links = [join_url(base, address) for address in written] or page.links
    host = re.match(r'https?://[^/]+', base)
    root = host[0] if host else ''
    inner = [
        link
        for link in dict.fromkeys(links)
        if link.startswith(root) and re.search(r'/images/[\w-]+/?$', link)
    ]
    return [link for link in inner if not link.rstrip('/').endswith('/archive')]


def _licence_name(address: str) -> str:
    """Return the name of a Creative Commons licence, or its address."""
    found = _LICENCE_LINK.search(address)
    if not found:
        return address
    parts = [part for part in found[2].split('/') if part]
    prefix = 'CC' if found[1] == 'licenses' else 'CC0' if 'zero' in parts else 'PD'
    rest = [] if found[1] != 'licenses' else [parts[0].upper()]
    return ' '.join([prefix, *rest, *parts[1:2]])


def _plain(text: str) -> str:
    """Return a text without markup, on one line."""
    return ' '.join(html.unescape(re.sub(r'<[^>]*>', ' ', text)).split())
