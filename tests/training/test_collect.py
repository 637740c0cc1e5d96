# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of fetching images from a server on this machine that has every fault."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from collect_site import LICENCE, collect, encoded, files, manifest, sky

from astroflat.training._collect_http import Fetcher, RefusedError


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
