# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the page in a real browser, if Chromium is there."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import threading
import time

import numpy as np
import pytest

from astroflat.io import write_flat, write_image
from astroflat.quality import QualityReport
from astroflat.visualization._view_page import Site
from astroflat.visualization._view_result import find_results
from astroflat.visualization._view_server import PageServer

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
BASH = shutil.which('bash')
SHAPE = (90, 120)

pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason='needs Chromium on the path'),
    # The browser is spoken to through two more pipes, which the shell connects.
    pytest.mark.skipif(not BASH, reason='needs bash on the path'),
]


class Browser:
    """Chromium, spoken to by its DevTools protocol through pipes."""

    def __init__(self, profile) -> None:
        self._ids = itertools.count(1)
        self.events: list[dict] = []
        self._session: str | None = None
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        self._rest = b''
        command = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        options = [
            '--headless=new',
            '--disable-gpu',
            '--disable-dev-shm-usage',
            '--no-first-run',
            '--remote-debugging-pipe',
            '--window-size=900,1400',
            f'--user-data-dir={profile}',
        ]
        if os.geteuid() == 0:
            # Chromium does not start for root without this switch.
            options.append('--no-sandbox')
        self.process = subprocess.Popen(
            [BASH, '-c', command, CHROMIUM, *options, 'about:blank'],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(OSError, AssertionError):
            self._session = None
            self.send('Browser.close')
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._in)
        os.close(self._out)

    def send(self, method: str, **parameters):
        """Send a command and return its result; events are kept."""
        number = next(self._ids)
        message = {'id': number, 'method': method, 'params': parameters}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._out, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._read()
            if answer.get('id') == number:
                assert 'error' not in answer, answer
                return answer['result']
            self.events.append(answer)

    def _read(self) -> dict:
        """Return the next message."""
        while b'\0' not in self._rest:
            part = os.read(self._in, 1 << 20)
            assert part, 'the browser has ended'
            self._rest += part
        message, _, self._rest = self._rest.partition(b'\0')
        return json.loads(message)

    def open(self, url: str) -> None:
        """Open a page and wait for its script."""
        target = self.send('Target.createTarget', url='about:blank')['targetId']
        attached = self.send('Target.attachToTarget', targetId=target, flatten=True)
        self._session = attached['sessionId']
        for domain in ('Network', 'Log', 'Runtime', 'Page'):
            self.send(f'{domain}.enable')
        self.send('Page.navigate', url=url)
        self.wait("document.body?.dataset.ready === 'yes'")

    def value(self, expression: str):
        """Return the value of an expression in the page."""
        answer = self.send(
            'Runtime.evaluate', expression=expression, returnByValue=True
        )
        assert 'exceptionDetails' not in answer, answer
        return answer['result'].get('value')

    def wait(self, expression: str, seconds: float = 20) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.05)

    def key(self, key: str) -> None:
        """Press a key."""
        for kind in ('keyDown', 'keyUp'):
            text = {'text': key} if kind == 'keyDown' else {}
            self.send('Input.dispatchKeyEvent', type=kind, key=key, **text)

    def place(self, selector: str) -> tuple[float, float]:
        """Scroll an element into view and return its middle."""
        script = (
            f"(() => {{ const e = document.querySelector('{selector}');"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            'return [b.x + b.width / 2, b.y + b.height / 2]; })()'
        )
        return tuple(self.value(script))

    def mouse(self, kind: str, x: float, y: float, **options) -> None:
        """Send an event of the mouse."""
        self.send('Input.dispatchMouseEvent', type=kind, x=x, y=y, **options)

    def click(self, selector: str) -> None:
        """Click on an element."""
        x, y = self.place(selector)
        for kind in ('mousePressed', 'mouseReleased'):
            self.mouse(kind, x, y, button='left', clickCount=1)


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    """Open the page of a flat with two motes."""
    folder = tmp_path_factory.mktemp('browser')
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    flat = np.ones(SHAPE, 'f4')
    flat[np.hypot(x - 30, y - 20) < 5] = 0.8
    flat[np.hypot(x - 90, y - 60) < 6] = 0.9
    median = 1000 * flat + np.random.default_rng(0).normal(0, 4, SHAPE)
    write_flat(flat, folder / 'flat.fits')
    write_image(median.astype('f4'), folder / 'median.fits')
    QualityReport('dust flat', {'n_dust': 2}).write(folder / 'flat.json')
    site = Site(find_results(folder / 'flat.fits', folder / 'median.fits'))
    with PageServer(site.find) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        browser = Browser(folder / 'profile')
        browser.url = server.url
        try:
            # The first page leads to that of the only result.
            browser.open(server.url)
            yield browser
        finally:
            browser.close()
            server.shutdown()
            thread.join()


def shown(page) -> str:
    """Return which image is seen."""
    visible = (
        "[...document.querySelectorAll('#layers img')].filter((i) => i.naturalWidth"
        " && getComputedStyle(i).visibility === 'visible').map((i) => i.alt).join()"
    )
    return page.value(visible)


def test_blink(page):
    """Keys and buttons show what they say; blinking goes on by itself."""
    assert page.value('location.href') == page.url + '0/'
    assert shown(page) == 'after'
    page.key(' ')
    assert shown(page) == 'before'
    page.click('button[data-show="flat"]')
    assert shown(page) == 'flat'
    page.key('m')
    assert shown(page) == 'flat,mask'
    page.click('button[data-act="mask"]')
    page.click('button[data-act="blink"]')
    for name in ('before', 'after', 'before'):
        page.wait(f"document.getElementById('name').textContent === '{name}'", 5)
    page.click('button[data-act="blink"]')
    before = shown(page)
    time.sleep(0.9)
    assert shown(page) == before


def test_catalogue_leads_to_the_mote(page):
    """A click on a row looks at the mote and draws its profile."""
    scale = "Number(document.getElementById('stage').dataset.scale)"
    page.click('#motes tbody tr:nth-child(2)')
    page.wait("document.getElementById('profile').dataset.mote === '1'")
    assert page.value(scale) > 1
    lines = page.value("document.querySelectorAll('#profile polyline').length")
    assert lines == 2
    assert page.value("document.querySelector('tr.chosen td').textContent") == '2'
    # The middle of the stage is the middle of the mote, in pixels of the image.
    middle = page.value(
        '(() => { const s = document.getElementById("stage").getBoundingClientRect();'
        'const l = document.getElementById("layers").getBoundingClientRect();'
        'return [(s.x + s.width / 2 - l.x) / l.width,'
        '(s.y + s.height / 2 - l.y) / l.height]; })()'
    )
    assert middle[0] * SHAPE[1] - 0.5 == pytest.approx(90, abs=0.5)
    assert (1 - middle[1]) * SHAPE[0] - 0.5 == pytest.approx(60, abs=0.5)
    page.key('h')
    assert page.value(scale) == 1


def test_zoom_and_pan(page):
    """The wheel zooms about the pointer, a drag moves the view."""
    x, y = page.place('#stage')
    where = (
        "(() => { const l = document.getElementById('layers').getBoundingClientRect();"
        f'return [({x} - l.x) / l.width, ({y} - l.y) / l.height, l.width, l.x]; }})()'
    )
    first = page.value(where)
    for _ in range(4):
        page.mouse('mouseWheel', x, y, deltaX=0, deltaY=-100)
    page.wait("Number(document.getElementById('stage').dataset.scale) > 2.4")
    second = page.value(where)
    assert second[:2] == pytest.approx(first[:2], abs=2e-3)
    assert second[2] == pytest.approx(first[2] * 1.25**4, rel=1e-2)
    page.mouse('mousePressed', x, y, button='left', clickCount=1)
    page.mouse('mouseMoved', x + 30, y + 10, button='left', buttons=1)
    page.mouse('mouseReleased', x + 30, y + 10, button='left', clickCount=1)
    assert page.value(where)[3] == pytest.approx(second[3] + 30, abs=1)
    page.key('h')


def test_nothing_from_elsewhere_and_no_errors(page):
    """All requests go to the server; the policy and the script raise nothing."""
    page.value('1')
    asked = [
        event['params']['request']['url']
        for event in page.events
        if event['method'] == 'Network.requestWillBeSent'
    ]
    assert len(asked) >= 8
    assert all(url.startswith((page.url, 'data:')) for url in asked), asked
    faults = [
        event
        for event in page.events
        if event['method'] in ('Log.entryAdded', 'Runtime.exceptionThrown')
    ]
    assert faults == []
    images = '[...document.images].every((i) => i.complete && i.naturalWidth > 0)'
    assert page.value(images)
