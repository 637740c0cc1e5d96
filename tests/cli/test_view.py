# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the page that shows a result, and of the server that gives it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from http.client import HTTPConnection

import numpy as np
import pytest
from astropy.io import ascii as tables
from astropy.nddata import CCDData
from PIL import Image

import astroflat as af
from astroflat.cli import main
from astroflat.io import write_flat, write_image
from astroflat.quality import QualityReport
from astroflat.visualization._view_page import Site
from astroflat.visualization._view_result import find_results
from astroflat.visualization._view_server import PageServer
from astroflat.visualization.figures import display_limits

SHAPE = (90, 120)
# x, y, radius and depth of the motes.
MOTES = ((60, 40, 5, 0.2), (100, 70, 7, 0.1))


def truth() -> np.ndarray:
    """Return the transmission of the dust."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    flat = np.ones(SHAPE, 'f4')
    for x0, y0, radius, depth in MOTES:
        flat[np.hypot(x - x0, y - y0) < radius] -= depth
    return flat


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Write a flat with its report and figure, and the median it belongs to."""
    path = tmp_path_factory.mktemp('results')
    noise = np.random.default_rng(0).normal(0, 4, SHAPE)
    write_image((1000 * truth() + noise).astype('f4'), path / 'median.fits')
    write_flat(truth(), path / 'flat.fits')
    report = QualityReport('dust flat', {'n_dust': 2, 'fill_percent': 0.25})
    report.write(path / 'flat.json')
    Image.new('L', (4, 3), 77).save(path / 'flat.png')
    return path


@contextlib.contextmanager
def served(results):
    """Serve results, and return a function that gets a path below the first page."""
    with PageServer(Site(results).find) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()

        def get(name, **options):
            return ask(server, server.prefix + name, **options)

        get.server = server
        try:
            yield get
        finally:
            server.shutdown()
            thread.join()


def ask(server, path, *, method='GET', headers=None):
    """Send a request as it is; return status, headers and content."""
    connection = HTTPConnection('127.0.0.1', server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    headers = {'Host': f'127.0.0.1:{server.server_port}', **(headers or {})}
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


@pytest.fixture(scope='module')
def get(folder):
    """Serve the flat on its median."""
    results = find_results(folder / 'flat.fits', folder / 'median.fits')
    with served(results) as function:
        yield function


def pixels(content) -> np.ndarray:
    """Return a PNG with its first row first."""
    return np.asarray(Image.open(io.BytesIO(content)))[::-1]


# ---- what is served


def test_images_are_those_of_the_files(folder, get):
    """Before, after, flat and mask are the data, on scales that can be stated."""
    median = af.read_image(folder / 'median.fits').data
    after = median / truth()
    low, high = display_limits(after)

    def grey(data):
        return np.rint(255 * np.clip((data - low) / (high - low), 0, 1))

    assert np.array_equal(pixels(get('0/before.png')[2]), grey(median))
    assert np.abs(pixels(get('0/after.png')[2]) - grey(after)).max() <= 1
    flat = pixels(get('0/flat.png')[2])
    assert set(flat[truth() == 1]) == {128}
    assert flat[40, 60] == 0
    assert flat[70, 100] == 64
    mask = pixels(get('0/mask.png')[2])
    assert np.array_equal(mask[..., 3] > 0, truth() != 1)


def test_catalogue_is_the_truth(get):
    """The motes are found on the flat with their place, size and depth."""
    status, headers, content = get('0/motes.csv')
    assert status == 200
    assert headers['Content-Type'].startswith('text/csv')
    motes = tables.read(content.decode(), format='csv')
    assert len(motes) == 2
    for row, (x, y, _, depth) in zip(motes, MOTES, strict=True):
        assert (row['x'], row['y']) == pytest.approx((x, y), abs=1e-6)
        pixels_of = np.isclose(truth(), 1 - depth).sum()
        assert row['area'] == pixels_of
        assert row['radius'] == pytest.approx(np.sqrt(pixels_of / np.pi))
        assert row['depth'] == pytest.approx(depth, abs=1e-6)
    page = get('0/')[2].decode()
    assert page.index('Motes: 2') < page.index('>disc<')


def test_profiles_are_means_of_three_rows(folder, get):
    """A profile is the mean of three rows through the mote."""
    median = af.read_image(folder / 'median.fits').data.astype(float)
    motes = json.loads(get('0/motes.json')[2])
    for mote, (x, y, radius, _) in zip(motes, MOTES, strict=True):
        first = int(x - mote['half'])
        values = mote['profile']['before']
        assert mote['profile']['x'] == first
        # The radius is that of a disc with as many pixels.
        assert mote['half'] == pytest.approx(3 * radius, rel=0.07)
        expected = median[y - 1 : y + 2, first : first + len(values)].mean(axis=0)
        assert values == pytest.approx(expected.tolist(), rel=1e-6)
        assert min(mote['profile']['after']) > 980


def test_page_needs_nothing_from_elsewhere(get):
    """All that the page asks for is served here; the report and figure are in it."""
    page = get('0/')[2].decode()
    asked = re.findall(r'(?:src|href|data-source)="([^"]*)"', page)
    for name in asked:
        if not name.startswith('data:'):
            path = name.removeprefix('../') if name.startswith('../') else f'0/{name}'
            assert get(path)[0] == 200, name
    for name in ('0/', 'view.js', 'view.css'):
        text = get(name)[2].decode().replace('http://www.w3.org/2000/svg', '')
        assert not re.search(r'https?:|url\(|@import|\beval\b|innerHTML', text), name
    assert 'fill_percent' in page
    assert 'data:image/png;base64,' in page
    assert '"accept"' not in page
    assert 'class="verdict accept"' in page


def test_first_page_leads_to_the_only_result(get):
    """With one result the first page leads there."""
    status, _, content = get('')
    assert status == 200
    assert b'url=0/' in content


# ---- who is served


def test_loopback_only_and_headers(get):
    """The socket is bound to the loopback address; the page may run no foreign code."""
    assert get.server.server_address[0] == '127.0.0.1'
    assert get.server.socket.getsockname()[0] == '127.0.0.1'
    status, headers, content = get('0/', method='HEAD')
    assert (status, content) == (200, b'')
    assert int(headers['Content-Length']) == len(get('0/')[2])
    policy = headers['Content-Security-Policy']
    assert policy.startswith("default-src 'none'")
    assert "script-src 'self';" in policy
    assert headers['X-Content-Type-Options'] == 'nosniff'
    assert headers['Cache-Control'] == 'no-store'
    assert 'Access-Control-Allow-Origin' not in headers
    assert 'Python' not in headers['Server']


@pytest.mark.parametrize(
    'path',
    [
        '0/../../../../../../etc/passwd',
        '../../etc/passwd',
        '%2e%2e/%2e%2e/etc/passwd',
        '0/..%2f..%2fetc%2fpasswd',
        '//etc/passwd',
        '/etc/passwd',
        '0/%00',
        '0/flat.fits',
        'page/view.js',
        '1/',
        '-1/',
        '00/',
        '0',
    ],
)
def test_no_path_leads_to_a_file(get, path):
    """What is not a name of the site is not found, whatever it looks like."""
    assert get(path)[0] == 404


def test_path_must_be_known_and_host_right(get):
    """Without the random part of the path, or for another host, nothing is given."""
    server = get.server
    assert len(server.prefix) >= 22
    for path in ('/', '/0/', '/0/before.png', '/view.js', server.prefix[:-1]):
        assert ask(server, path)[0] == 404
    for host in ('evil.example', f'evil.example:{server.server_port}', '127.0.0.1', ''):
        assert get('0/', headers={'Host': host})[0] == 403
    local = {'Host': f'localhost:{server.server_port}'}
    assert get('0/', headers=local)[0] == 200
    assert ask(server, 'http://evil.example' + server.prefix)[0] == 404
    for method in ('POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE'):
        assert get('0/', method=method)[0] == 501


@pytest.mark.parametrize('text', [b'\0\1\2\r\n\r\n', b'GET\r\n\r\n', b'G' * 70000])
def test_garbage_does_no_harm(get, text):
    """A malformed request is answered or dropped, and the next one served."""
    with (
        socket.create_connection(get.server.server_address, timeout=10) as client,
        contextlib.suppress(ConnectionError),
    ):
        client.sendall(text + b'\r\n\r\n')
        client.recv(100)
    assert get('')[0] == 200


# ---- what can be shown


def test_folder(folder, tmp_path):
    """A folder shows its pages, reports and flats, on the median among the stages."""
    for name in ('flat.fits', 'flat.json', 'median.fits'):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    write_flat(truth(), tmp_path / 'other.tif', dtype='uint16')
    (tmp_path / 'night.html').write_text('<p>the night')
    (tmp_path / 'stages.json').write_text('{"median.fits": ["x", 1]}')
    (tmp_path / 'notes.txt').write_text('not shown')
    results = find_results(tmp_path)
    assert [r.name for r in results] == ['night.html', 'flat', 'other']
    assert {r.before for r in results[1:]} == {tmp_path / 'median.fits'}
    with served(results) as get:
        index = get('')[2].decode()
        assert re.findall(r'href="(\d/)">([^<]*)', index) == [
            ('0/', 'night.html'),
            ('1/', 'flat'),
            ('2/', 'other'),
        ]
        assert get('0/')[2] == b'<p>the night'
        assert b'before.png' in get('1/')[2]
        assert pixels(get('2/flat.png')[2]).shape == SHAPE


def test_report_and_images_alone(folder, tmp_path):
    """A report finds its image by name; an image without report is shown too."""
    by_report = find_results(folder / 'flat.json')
    assert by_report == find_results(folder / 'flat.fits')
    with served(by_report) as get:
        assert b'before.png' not in get('0/')[2]
        assert b'blink' not in get('0/')[2]
        assert list(json.loads(get('0/motes.json')[2])[0]['profile']) == [
            'flat',
            'x',
            'rows',
        ]
    clean = tmp_path / 'clean.fits'
    write_image(np.full(SHAPE, 1000, 'f4'), clean)
    with served(find_results(clean, folder / 'median.fits')) as get:
        assert pixels(get('0/after.png')[2]).std() == 0
        assert get('0/motes.json')[0] == 404
    QualityReport('alone', {'n': 3}).write(tmp_path / 'alone.json')
    with served(find_results(tmp_path / 'alone.json')) as get:
        assert b'id="stage"' not in get('0/')[2]


def test_tables_masks_and_colours(tmp_path):
    """The table of motes and the mask that belong to a flat are used."""
    rng = np.random.default_rng(1)
    flat = rng.normal(1, 0.01, (*SHAPE, 3)).astype('f4')
    write_flat(CCDData(flat, unit=''), tmp_path / 'full.fits')
    rows = 'id x y radius\n1 30.0 20.0 6.0\n'
    tables.read(rows).write(tmp_path / 'full.ecsv', format='ascii.ecsv')
    write_image((truth() < 0.85).astype('u1'), tmp_path / 'full.mask.fits')
    with served(find_results(tmp_path / 'full.fits')) as get:
        motes = json.loads(get('0/motes.json')[2])
        assert [(m['x'], m['y']) for m in motes] == [(30, 20)]
        mask = pixels(get('0/mask.png')[2])[..., 3] > 0
        assert np.array_equal(mask, truth() < 0.85)


def test_full_flats_are_searched(tmp_path):
    """In a flat that differs from 1 everywhere the dust is searched."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    vignette = 1 - 1e-5 * ((x - 60) ** 2 + (y - 45) ** 2)
    noise = np.random.default_rng(3).normal(1, 0.004, SHAPE)
    write_flat((truth() * vignette * noise).astype('f4'), tmp_path / 'full.fits')
    with served(find_results(tmp_path / 'full.fits')) as get:
        found = sorted((m['x'], m['y']) for m in json.loads(get('0/motes.json')[2]))
        for place, (x0, y0, *_) in zip(found, MOTES, strict=True):
            assert place == pytest.approx((x0, y0), abs=1)


def test_hostile_names_are_text(tmp_path):
    """Names and reports cannot bring markup into the page."""
    name = '<img src=x onerror=alert(1)>'
    report = QualityReport(f'{name}', {name: 1}, reasons=[name])
    report.write(tmp_path / f'{name}.json')
    report.write(tmp_path / 'b.json')
    with served(find_results(tmp_path)) as get:
        for path in ('', '0/', '1/'):
            content = get(path)[2]
            assert b'<img src=x' not in content
            assert b'&lt;img src=x' in content


def test_what_cannot_be_shown(folder, tmp_path):
    """Errors name the file; an image that does not fit is said on its page."""
    (tmp_path / 'a.txt').write_text('text')
    (tmp_path / 'a.json').write_text('[1, 2]')
    (tmp_path / 'b.json').write_text('{"method": "x", "verdict": "<script>"}')
    for name, error, text in (
        ('none.fits', FileNotFoundError, 'does not exist'),
        ('a.txt', ValueError, 'no result that can be shown'),
        ('a.json', ValueError, 'no report of astroflat'),
        ('b.json', ValueError, 'no report of astroflat'),
        ('', FileNotFoundError, 'no flats, reports or pages'),
    ):
        with pytest.raises(error, match=text):
            find_results(tmp_path / name)
    write_image(np.ones((5, 6), 'f4'), tmp_path / 'small.fits')
    with served(find_results(folder / 'flat.fits', tmp_path / 'small.fits')) as get:
        assert b'small.fits&#x27; has the shape (5, 6)' in get('0/')[2]


# ---- the command


def test_command_ends_cleanly(folder):
    """The command prints its address, serves, and ends with 0 on Ctrl-C."""
    # Jobs in the background ignore Ctrl-C, and so would what they start.
    code = (
        'import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); '
        'from astroflat.cli import main; sys.exit(main(sys.argv[1:]))'
    )
    argv = ['view', str(folder / 'flat.fits'), '--no-browser']
    with subprocess.Popen(
        [sys.executable, '-c', code, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, 'MPLBACKEND': 'agg'},
    ) as process:
        url = process.stdout.readline().strip()
        match = re.fullmatch(r'http://(127\.0\.0\.1):(\d+)(/[\w-]{22}/)', url)
        # A browser that keeps its connection must not hold it up.
        client = HTTPConnection(match[1], int(match[2]), timeout=20)
        client.request('GET', match[3] + 'view.js')
        assert client.getresponse().read().startswith(b'// Licensed')
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
        assert time.monotonic() - start < 10
    assert (process.returncode, err) == (0, '')
    assert out.endswith('ended\n')
    client.close()
    with pytest.raises(OSError, match=r'refused|reset'):
        socket.create_connection((match[1], int(match[2])), timeout=5)


def test_command_opens_the_browser(folder, monkeypatch, capsys):
    """The browser is given the address that is printed."""
    opened = []

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(webbrowser, 'open', opened.append)
    monkeypatch.setattr(PageServer, 'serve_forever', stop)
    assert main(['view', str(folder)]) == 0
    out = capsys.readouterr().out
    assert opened == [out.splitlines()[0]]
    assert 'there is no browser to open' in out
    assert main(['view', str(folder), '--no-browser']) == 0
    assert len(opened) == 1


def test_command_refuses(folder, tmp_path, capsys):
    """What does not exist, and a port that is taken, are errors in words."""
    assert main(['view', str(tmp_path / 'none.fits')]) == 1
    assert 'does not exist' in capsys.readouterr().err
    argv = ['view', str(folder), '--no-browser']
    assert main([*argv, '--image', str(tmp_path / 'none.fits')]) == 1
    assert '--image' in capsys.readouterr().err
    with socket.create_server(('127.0.0.1', 0)) as taken:
        assert main([*argv, '--port', str(taken.getsockname()[1])]) == 1
    assert 'in use' in capsys.readouterr().err
    for port in ('70000', '-1', 'x'):
        with pytest.raises(SystemExit):
            main([*argv, '--port', port])
