# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of collecting images from a server on this machine that has every fault."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from astroflat.cli import main
from astroflat.training._collect_http import Fetcher, RefusedError
from astroflat.training.collect import collect_images, query_archive

LICENCE = 'CC BY 4.0'


def sky(seed, shape=(96, 128)):
    """Make an image that is like no other."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 1, (12, 16))
    return np.kron(coarse, np.ones((shape[0] // 12, shape[1] // 16)))


def encoded(data, kind):
    """Return an image as the bytes of a file."""
    scaled = np.clip(128 + 40 * data, 0, 255).astype('u1')
    buffer = io.BytesIO()
    if kind == 'fits':
        fits.PrimaryHDU(data.astype('f4')).writeto(buffer)
    else:
        Image.fromarray(scaled).save(buffer, kind)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Answer from a table of pages, each with its own way to fail."""

    protocol_version = 'HTTP/1.1'

    def log_message(self, *_):
        """Say nothing."""

    def do_GET(self):
        """Answer a request."""
        site = self.server.site
        site.seen.append((self.path, dict(self.headers), time.monotonic()))
        page = site.pages.get(self.path)
        if page is None:
            self.answer(404, b'nothing here', 'text/plain')
            return
        fault = page.faults.pop(0) if page.faults else ''
        if isinstance(fault, int):
            self.answer(fault, b'later', 'text/plain', {'Retry-After': page.after})
        elif fault == 'redirect':
            self.answer(302, b'', 'text/plain', {'Location': page.body.decode()})
        else:
            self.send_body(page, fault)

    def answer(self, status, body, kind, extra=None):
        """Send an answer as a whole."""
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        for name, value in (extra or {}).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_body(self, page, fault):
        """Send a page, or the part of it that is asked for, or less."""
        body, status, start = page.body, 200, 0
        asked = self.headers.get('Range')
        if asked and page.ranges and self.headers.get('If-Range') == page.tag:
            start = int(asked.removeprefix('bytes=').rstrip('-'))
            status = 206
        self.send_response(status)
        self.send_header('Content-Type', page.kind)
        if page.tag:
            self.send_header('ETag', page.tag)
        if status == 206:
            at = start + 1 if fault == 'other part' else start
            self.send_header('Content-Range', f'bytes {at}-{len(body)}/{len(body)}')
        rest = body[start:]
        if fault == 'no length':
            self.send_header('Connection', 'close')
        elif fault == 'too short':
            self.send_header('Content-Length', str(len(rest) // 2))
        elif fault == 'too long':
            self.send_header('Content-Length', str(len(rest) + 999))
        else:
            self.send_header('Content-Length', str(len(rest)))
        self.end_headers()
        self.write(rest, fault)

    def write(self, rest, fault):
        """Write all, some, or slowly."""
        if fault == 'cut' or (fault == 'no length' and len(rest) > 10**6):
            self.wfile.write(rest[: len(rest) // 3])
            self.close_connection = True
        elif fault == 'slow':
            for k in range(12):
                self.wfile.write(rest[k : k + 1])
                self.wfile.flush()
                time.sleep(0.05)
            self.close_connection = True
        elif fault == 'silent':
            time.sleep(0.6)
            self.close_connection = True
        else:
            half = len(rest) // 2 if fault == 'too short' else len(rest)
            self.wfile.write(rest[:half])
            self.close_connection = fault in ('too long', 'too short', 'no length')


class Site:
    """A web site with a table of pages."""

    def __init__(self):
        self.pages, self.seen = {}, []
        self.server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.daemon_threads = True
        self.server.site = self
        self.address = f'http://127.0.0.1:{self.server.server_address[1]}'
        threading.Thread(target=self.server.serve_forever, args=(0.02,)).start()

    def put(self, path, body, kind='image/png', faults=(), *, tag='"1"', **options):
        """Add a page and return its address."""
        self.pages[path] = SimpleNamespace(
            body=body.encode() if isinstance(body, str) else body,
            kind=kind,
            faults=list(faults),
            tag=tag,
            ranges=options.get('ranges', True),
            after=options.get('after', ''),
        )
        return self.address + path

    def asked(self, path):
        """Return the headers of all requests for a page."""
        return [headers for one, headers, _ in self.seen if one == path]


@pytest.fixture
def site(monkeypatch):
    """Run a web site on this machine, with no proxy in between."""
    monkeypatch.setenv('no_proxy', '*')
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


@pytest.fixture
def quick():
    """Make a fetcher that does not wait, and remembers how long it would have."""
    waits = []
    fetcher = Fetcher('test', 0.0, 0.3, 2, pause=0.5, sleep=waits.append)
    fetcher.waits = waits
    return fetcher


def collect(source, folder, fetcher, **options):
    """Collect with a licence for all, and images of any size but tiny ones."""
    options = {'licence': LICENCE, 'min_size': 64, **options}
    return collect_images(source, folder, fetcher=fetcher, **options)


def manifest(folder):
    """Return the table of a folder by addresses."""
    table = Table.read(folder / 'manifest.ecsv', format='ascii.ecsv')
    return {row['url'].rsplit('/', 1)[-1]: row for row in table}


def files(folder):
    """Return what is in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def test_images_of_all_kinds(site, quick, tmp_path):
    """Files come to the byte, with their origin, licence, checksum and size."""
    bodies = {
        'a.fits': encoded(sky(1), 'fits'),
        'b.tif': encoded(sky(2), 'tiff'),
        'c.png': encoded(sky(3), 'png'),
        'd.jpg': encoded(sky(4), 'jpeg'),
    }
    urls = [site.put(f'/x/{name}', body) for name, body in bodies.items()]
    report = collect(urls, tmp_path, quick, credit='A. Nonymous')
    assert report.counts == {'kept': 4}
    assert files(tmp_path) == [*bodies, 'manifest.ecsv']
    rows = manifest(tmp_path)
    for name, body in bodies.items():
        assert (tmp_path / name).read_bytes() == body
        row = rows[name]
        assert row['sha256'] == hashlib.sha256(body).hexdigest()
        assert (row['width'], row['height'], row['bytes']) == (128, 96, len(body))
        assert (row['licence'], row['credit']) == (LICENCE, 'A. Nonymous')
        assert row['retrieved'].endswith('+00:00')
    assert site.asked('/x/a.fits')[0]['User-Agent'] == 'test'


def test_nothing_is_fetched_twice(site, quick, tmp_path):
    """A second call asks for nothing that is there; a lost file comes back."""
    urls = [site.put(f'/{i}.png', encoded(sky(i), 'png')) for i in range(3)]
    collect(urls, tmp_path, quick)
    site.seen.clear()
    assert collect(urls, tmp_path, quick).counts == {'known': 3}
    assert site.seen == []
    (tmp_path / '1.png').unlink()
    report = collect(urls, tmp_path, quick)
    assert report.counts == {'known': 2, 'kept': 1}
    assert [path.name for path in report.files] == ['1.png']


def test_cut_connections_are_continued(site, quick, tmp_path):
    """After a cut only the rest is asked for, twice if need be."""
    body = encoded(np.random.default_rng(1).normal(0, 1, (400, 600)), 'fits')
    url = site.put('/cut.fits', body, faults=['cut', 'cut'])
    assert collect(url, tmp_path, quick).counts == {'kept': 1}
    assert (tmp_path / 'cut.fits').read_bytes() == body
    asked = site.asked('/cut.fits')
    first = len(body) // 3
    second = first + (len(body) - first) // 3
    assert [one.get('Range') for one in asked] == [
        None,
        f'bytes={first}-',
        f'bytes={second}-',
    ]
    assert asked[1]['If-Range'] == '"1"'
    assert quick.waits[-2:] == [0.5, 1.0]


@pytest.mark.parametrize('fault', ['no ranges', 'no tag', 'other part', 'changed'])
def test_cut_where_it_cannot_be_continued(site, quick, tmp_path, fault):
    """Without ranges, a tag, the right part or the same file it begins anew."""
    body = encoded(np.random.default_rng(1).normal(0, 1, (200, 300)), 'fits')
    faults = ['cut', *(['other part'] if fault == 'other part' else [])]
    tag = '' if fault == 'no tag' else '"1"'
    options = {'tag': tag, 'ranges': fault != 'no ranges'}
    url = site.put('/a.fits', body, faults=faults, **options)
    if fault == 'changed':
        real = quick.sleep

        def change(seconds):
            real(seconds)
            site.pages['/a.fits'].tag = '"2"'

        quick.sleep = change
    assert collect(url, tmp_path, quick).counts == {'kept': 1}
    assert (tmp_path / 'a.fits').read_bytes() == body
    assert files(tmp_path) == ['a.fits', 'manifest.ecsv']


@pytest.mark.parametrize(
    ('faults', 'reason'),
    [
        (['cut'] * 9, 'cut after'),
        (['too long'] * 9, 'cut after'),
        (['too short'] * 9, 'damaged'),
        (['slow'] * 9, 'too slow'),
        (['silent'] * 9, 'cut after|timed out'),
        ([500] * 9, 'HTTP 500'),
        ([404], 'HTTP 404'),
        ([403], 'HTTP 403'),
    ],
)
def test_what_fails_leaves_nothing_behind(site, quick, tmp_path, faults, reason):
    """Faults that stay are noted, with the reason, and nothing half-written is left."""
    quick.slowest = 1e5
    good = site.put('/good.png', encoded(sky(9), 'png'))
    url = site.put('/bad.png', encoded(sky(8), 'png'), faults=faults, ranges=False)
    report = collect([url, good], tmp_path, quick)
    assert report.counts['kept'] == 1
    assert sum(report.counts.values()) == 2
    assert files(tmp_path) == ['good.png', 'manifest.ecsv']
    import re

    assert re.search(reason, manifest(tmp_path)['bad.png']['reason'])
    n_asked = len(site.asked('/bad.png'))
    permanent = faults[0] in (403, 404, 'too short')
    assert n_asked == (1 if permanent else 3)


def test_faults_that_pass(site, quick, tmp_path):
    """Busy servers are asked again, as late as they say; lengths may be missing."""
    body = encoded(sky(5), 'png')
    busy = site.put('/busy.png', body, faults=[503, 429], after='7')
    plain = site.put('/plain.png', encoded(sky(6), 'png'), faults=['no length'])
    assert collect([busy, plain], tmp_path, quick).counts == {'kept': 2}
    assert quick.waits == [7.0, 7.0]


def test_failures_are_tried_again_another_day(site, quick, tmp_path):
    """What failed is not known for good."""
    url = site.put('/a.png', encoded(sky(5), 'png'), faults=[404])
    assert collect(url, tmp_path, quick).counts == {'failed': 1}
    assert collect(url, tmp_path, quick).counts == {'kept': 1}
    assert len(manifest(tmp_path)) == 1


def test_partial_files_are_kept_on_demand(site, quick, tmp_path):
    """With ``keep_partial`` the next call goes on where the last one was cut."""
    body = encoded(np.random.default_rng(1).normal(0, 1, (200, 300)), 'fits')
    url = site.put('/a.fits', body, faults=['cut'])
    quick.retries = 0
    assert collect(url, tmp_path, quick, keep_partial=True).counts == {'failed': 1}
    assert '.a.fits.part' in files(tmp_path)
    assert collect(url, tmp_path, quick, keep_partial=True).counts == {'kept': 1}
    assert site.asked('/a.fits')[1]['Range'] == f'bytes={len(body) // 3}-'
    assert files(tmp_path) == ['a.fits', 'manifest.ecsv']
    assert (tmp_path / 'a.fits').read_bytes() == body


def test_what_is_no_image(site, quick, tmp_path):
    """Pages, text, damaged and too small images are refused, and not asked again."""
    png = encoded(sky(1), 'png')
    urls = [
        site.put('/page.jpg', '<!DOCTYPE html><html>log in</html>', 'text/html'),
        site.put('/lies.jpg', '\n <HTML>sorry</HTML>', 'image/jpeg'),
        site.put('/json.jpg', '{"error": 1}', 'application/json'),
        site.put('/text.png', 'no image at all', 'text/plain'),
        site.put('/half.png', png[: len(png) // 2]),
        site.put('/half.fits', encoded(sky(2), 'fits')[:20000]),
        site.put('/tiny.png', encoded(sky(3, (48, 64)), 'png')),
        site.put('/empty.png', b''),
    ]
    report = collect(urls, tmp_path, quick)
    assert report.counts == {'refused': 8}
    assert files(tmp_path) == ['manifest.ecsv']
    reasons = {name: row['reason'] for name, row in manifest(tmp_path).items()}
    assert 'page (text/html)' in reasons['page.jpg']
    assert 'page (image/jpeg)' in reasons['lies.jpg']
    assert 'page' in reasons['json.jpg']
    assert 'not an image' in reasons['text.png']
    assert 'damaged' in reasons['half.png']
    assert 'damaged' in reasons['half.fits']
    assert reasons['tiny.png'] == 'too small: 64 × 48'
    site.seen.clear()
    assert collect(urls, tmp_path, quick).counts == {'known': 8}
    assert site.seen == []
    # Smaller images may be wanted later.
    assert collect(urls, tmp_path, quick, min_size=32).counts['kept'] == 1


def test_duplicates(site, quick, tmp_path):
    """Copies to the byte and in other sizes and formats are kept once."""
    data = sky(1, (192, 256))
    body = encoded(data, 'png')
    smaller = encoded(data.reshape(96, 2, 128, 2).mean(axis=(1, 3)), 'jpeg')
    noisy = data + np.random.default_rng(1).normal(0, 0.1, data.shape)
    urls = [
        site.put('/first.png', body),
        site.put('/same/first.png', body),
        site.put('/smaller.jpg', smaller),
        site.put('/noisy.tif', encoded(noisy, 'tiff')),
        site.put('/mirrored.png', encoded(data[:, ::-1], 'png')),
        site.put('/other/first.png', encoded(sky(2, (192, 256)), 'png')),
    ]
    report = collect(urls, tmp_path, quick)
    assert report.counts == {'kept': 3, 'refused': 3}
    assert report.reasons == {'the same as first.png': 3}
    names = [path.name for path in report.files]
    assert names[:2] == ['first.png', 'mirrored.png']
    # Another image of the same name does not replace the first.
    assert names[2].endswith('_first.png')
    assert (tmp_path / 'first.png').read_bytes() == body


def test_licences(site, quick, tmp_path):
    """Images of unknown licence are not even asked for, unless wanted."""
    url = site.put('/a.png', encoded(sky(1), 'png'))
    report = collect(url, tmp_path, quick, licence='')
    assert report.reasons == {'no licence known': 1}
    assert site.seen == []
    assert collect(url, tmp_path, quick, licence='', any_licence=True).counts == {
        'kept': 1
    }


def test_robots(site, quick, tmp_path):
    """What ``robots.txt`` forbids is not fetched, and its pause is kept."""
    site.put('/robots.txt', 'User-agent: *\nDisallow: /secret/\nCrawl-delay: 3\n')
    urls = [
        site.put('/secret/a.png', encoded(sky(1), 'png')),
        site.put('/b.png', encoded(sky(2), 'png')),
    ]
    report = collect(urls, tmp_path, quick)
    assert report.counts == {'failed': 1, 'kept': 1}
    assert site.asked('/secret/a.png') == []
    assert len(site.asked('/robots.txt')) == 1
    site.put('/robots.txt', '', faults=[500] * 9)
    again = Fetcher('test', 0.0, 0.3, 1, sleep=lambda _: None)
    with pytest.raises(RefusedError, match='HTTP 500'):
        again.text(urls[1])


def test_pauses(site, tmp_path):
    """Requests to a host are as far apart as was asked for."""
    urls = [site.put(f'/{i}.png', encoded(sky(i), 'png')) for i in range(3)]
    fetcher = Fetcher('test', 0.15, 1.0, 0)
    assert collect(urls, tmp_path, fetcher).counts == {'kept': 3}
    times = np.array([when for _, _, when in site.seen])
    assert len(times) == 4
    assert np.diff(times).min() > 0.12


def test_redirections(site, quick, tmp_path):
    """Other web addresses are followed, files on this machine are not."""
    good = site.put('/good.png', encoded(sky(1), 'png'))
    urls = [
        site.put('/a.png', good, faults=['redirect']),
        site.put('/b.png', 'file:///etc/hostname', faults=['redirect']),
    ]
    report = collect(urls, tmp_path, quick)
    assert report.counts == {'kept': 1, 'failed': 1}
    with pytest.raises(RefusedError, match='only http'):
        quick.file('file:///etc/hostname', tmp_path / 'x')


def test_limits(site, quick, tmp_path):
    """Too large files are not fetched; the number of images can be limited."""
    quick.max_bytes = 1000
    big = site.put('/big.fits', encoded(sky(1), 'fits'))
    assert collect(big, tmp_path, quick).counts == {'failed': 1}
    assert files(tmp_path) == ['manifest.ecsv']
    quick.max_bytes = 1e6
    urls = [site.put(f'/{i}.png', encoded(sky(i), 'png')) for i in range(3)]
    assert collect(urls, tmp_path, quick, max_images=2).counts == {'kept': 2}
    with pytest.raises(ValueError, match='min_size'):
        collect(urls, tmp_path, quick, min_size=0)


def test_lists_in_files(site, quick, tmp_path):
    """Text, CSV and JSON, with credit and licence where they have them."""
    urls = [site.put(f'/{i}.png', encoded(sky(i), 'png')) for i in range(4)]
    (tmp_path / 'a.txt').write_text(f'# first\n\n{urls[0]}\n')
    (tmp_path / 'b.csv').write_text(
        f'url,title,credit,license\n{urls[1]},M 1,"A, B",CC0\n'
    )
    (tmp_path / 'c.json').write_text(
        json.dumps([{'href': urls[2], 'author': 'C', 'rights': 'PD'}, urls[3]])
    )
    folder = tmp_path / 'out'
    names = [tmp_path / name for name in ('a.txt', 'b.csv', 'c.json')]
    assert collect(names, folder, quick).counts == {'kept': 4}
    rows = manifest(folder)
    assert (rows['1.png']['title'], rows['1.png']['credit']) == ('M 1', 'A, B')
    assert rows['1.png']['licence'] == 'CC0'
    assert (rows['2.png']['credit'], rows['2.png']['licence']) == ('C', 'PD')
    assert rows['3.png']['licence'] == LICENCE
    (tmp_path / 'bad.txt').write_text('not an address\n')
    with pytest.raises(ValueError, match='no address'):
        collect(tmp_path / 'bad.txt', folder, quick)
    (tmp_path / 'bad.csv').write_text('a,b\n1,2\n')
    with pytest.raises(ValueError, match='no column of addresses'):
        collect(tmp_path / 'bad.csv', folder, quick)


def test_feed(site, quick, tmp_path):
    """A Data2Dome feed gives the largest image, credit and rights, page by page."""
    entries = []
    for i in range(3):
        large = site.put(f'/large/{i}.tif', encoded(sky(i), 'tiff'))
        small = site.put(f'/screen/{i}.jpg', encoded(sky(i), 'jpeg'))
        sizes = [(small, [64, 48], 1), (large, [128, 96], 9)]
        sizes += [(f'{large}.zip', [999, 999], 9), (f'{large}?huge', [999, 999], 10**9)]
        entries.append(
            {
                'ID': f'pic{i}',
                'Title': f'<b>Object</b> {i}',
                'Credit': 'ESA/Hubble &amp; NASA',
                'Rights': 'Creative Commons Attribution 4.0 International License',
                'ReferenceURL': f'{site.address}/images/pic{i}/',
                'Assets': [
                    {
                        'MediaType': 'Image',
                        'Resources': [
                            {'URL': url, 'Dimensions': size, 'FileSize': length}
                            for url, size, length in sizes
                        ],
                    }
                ],
            }
        )
    second = {'Count': 3, 'Next': None, 'Collections': entries[2:]}
    address = site.put('/d2d/?page=2', json.dumps(second), 'application/json')
    first = {'Count': 3, 'Next': address, 'Collections': entries[:2]}
    url = site.put('/d2d/', json.dumps(first), 'application/json')
    report = collect(url, tmp_path, quick, licence='')
    assert report.counts == {'kept': 3}
    row = manifest(tmp_path)['0.tif']
    assert row['title'] == 'Object 0'
    assert row['credit'] == 'ESA/Hubble & NASA'
    assert 'Attribution 4.0' in row['licence']
    assert row['page'].endswith('/images/pic0/')
    assert site.asked('/screen/0.jpg') == []
    other = tmp_path / 'one_page'
    assert collect(url, other, quick, licence='', max_pages=1).counts == {'kept': 2}


def test_pages(site, quick, tmp_path):
    """A page of an archive leads to the pages of its images, with their credit."""
    for i in range(2):
        site.put(f'/large/pic{i}.jpg', encoded(sky(i), 'jpeg'))
        site.put(f'/original/pic{i}.tif', encoded(sky(i), 'tiff'))
        site.put(
            f'/images/pic{i}/',
            f'<html><head><title>Nebula {i}</title></head><body>'
            f'<a href="/large/pic{i}.jpg">Large</a> '
            f'<a href="/original/pic{i}.tif">Original</a>'
            '<div class="credit"><p>Credit: <a href="/p">A. B.</a><br>and C</p></div>'
            '<a href="https://creativecommons.org/licenses/by/4.0/">terms</a></body>',
            'text/html',
        )
    listing = site.put(
        '/images/archive/category/nebulae/',
        "<html><script>var images = [{id: 'pic0', url: '/images/pic0/'},"
        "{id: 'pic1', url: '/images/pic1/'}];</script></html>",
        'text/html',
    )
    report = collect(listing, tmp_path, quick, licence='')
    assert report.counts == {'kept': 2}
    assert files(tmp_path) == ['manifest.ecsv', 'pic0.tif', 'pic1.tif']
    row = manifest(tmp_path)['pic0.tif']
    assert row['title'] == 'Nebula 0'
    assert row['credit'] == 'Credit: A. B. and C'
    assert row['licence'] == 'CC BY 4.0'
    assert row['page'] == f'{site.address}/images/pic0/'


@pytest.fixture
def astroquery(monkeypatch, site):
    """Put a stand-in in the place of astroquery, with products of this site."""
    asked = {}

    class Observations:
        @staticmethod
        def query_criteria(**criteria):
            asked.update(criteria)
            return [] if criteria.get('objectname') == 'nothing' else ['observation']

        @staticmethod
        def get_product_list(observations):
            return observations * 3

        @staticmethod
        def filter_products(products, **filters):
            asked['filters'] = filters
            names = ['a_drz.fits', 'b_drc.fits', 'a_drz.fits']
            return Table(
                {
                    'productFilename': names,
                    'dataURI': [f'mast:HST/product/{name}' for name in names],
                    'obs_collection': ['HST'] * 3,
                    'proposal_id': ['10452'] * 3,
                }
            )

    package, mast = ModuleType('astroquery'), ModuleType('astroquery.mast')
    mast.Observations = Observations
    package.mast = mast
    monkeypatch.setitem(sys.modules, 'astroquery', package)
    monkeypatch.setitem(sys.modules, 'astroquery.mast', mast)
    base = f'{site.address}/Download/file?uri='
    monkeypatch.setattr('astroflat.training.collect._MAST', base)
    return asked


def test_query(site, quick, tmp_path, astroquery):
    """A query gives public, combined images, whose files get their own names."""
    for i, name in enumerate(('a_drz.fits', 'b_drc.fits')):
        path = f'/Download/file?uri=mast:HST/product/{name}'
        site.put(path, encoded(sky(i), 'fits'))
    table = query_archive(obs_collection='HST', objectname='M 51')
    assert astroquery['dataRights'] == 'PUBLIC'
    assert astroquery['filters']['productType'] == 'SCIENCE'
    assert len(table) == 2
    assert collect(table, tmp_path, quick, licence='').counts == {'kept': 2}
    assert files(tmp_path) == ['a_drz.fits', 'b_drc.fits', 'manifest.ecsv']
    row = manifest(tmp_path)['a_drz.fits']
    assert 'proposal 10452' in row['credit']
    assert 'MAST' in row['licence']
    with pytest.raises(ValueError, match='nothing for'):
        query_archive(objectname='nothing')
    with pytest.raises(ValueError, match='criteria'):
        query_archive()


def test_query_without_astroquery(monkeypatch):
    """The optional package is named when it is missing."""
    monkeypatch.setitem(sys.modules, 'astroquery', None)
    monkeypatch.setitem(sys.modules, 'astroquery.mast', None)
    with pytest.raises(ImportError, match='pip install astroquery'):
        query_archive(obs_collection='HST')


def test_interrupted(site, quick, tmp_path, monkeypatch):
    """Control-C leaves what is complete, its record, and nothing else."""
    urls = [site.put(f'/{i}.png', encoded(sky(i), 'png')) for i in range(2)]
    real = quick.file

    def interrupt(url, path):
        transfer = real(url, path)
        if url == urls[1]:
            raise KeyboardInterrupt
        return transfer

    monkeypatch.setattr(quick, 'file', interrupt)
    with pytest.raises(KeyboardInterrupt):
        collect(urls, tmp_path, quick)
    assert files(tmp_path) == ['0.png', 'manifest.ecsv']
    assert len(manifest(tmp_path)) == 1


def test_command(site, tmp_path, capsys):
    """The command lists, fetches, and tells by its exit code."""
    url = site.put('/a.png', encoded(sky(1), 'png'))
    out = tmp_path / 'out'
    options = ['--delay', '0', '--min-size', '64', '--contact', 'me@example.org']
    command = ['train', 'collect', url, '-o', str(out), *options]
    assert main([*command, '--dry-run', '--licence', 'CC0']) == 0
    assert f'found: {url}' in capsys.readouterr().out
    assert not out.exists()
    assert main(command) == 3
    assert 'no licence known' in capsys.readouterr().out
    assert main([*command, '--licence', 'CC0']) == 0
    assert '1 kept' in capsys.readouterr().out
    assert files(out) == ['a.png', 'manifest.ecsv']
    agent = site.asked('/a.png')[0]['User-Agent']
    assert agent.startswith('astroflat/')
    assert 'me@example.org' in agent
    assert main(['train', 'collect', '-o', str(out)]) == 1
    assert '--mast' in capsys.readouterr().err
    assert main(['train', 'collect', '-o', str(out), '--mast', 'wrong']) == 1
    assert 'KEY=VALUE' in capsys.readouterr().err
