# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
``astroflat dustflat`` with the adviser.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.io import fits
from fake_gemini import FakeGemini, image, reply, sent_images, shapes, text

import astroflat as af
from astroflat.cli import main

pytest.importorskip('google.genai')


@pytest.fixture
def source(flat, tmp_path):
    """Write the flat to a file."""
    path = tmp_path / 'twilight.fits'
    fits.writeto(path, flat['image'])
    return path


def run(source, server, *options):
    """Run the command; return its status and the folder of the output."""
    out = source.with_name('out.fits')
    url = ['--gemini-url', server.url] if server else []
    cache = ['--gemini-cache', str(source.parent / 'answers')] if server else []
    argv = ['dustflat', source, '-o', out, '--no-figure', '-q', *url, *cache]
    return main([str(a) for a in (*argv, *options)])


def both(flat):
    """Return a model for both questions."""

    def answer(request):
        if 'responseJsonSchema' in request['generationConfig']:
            return shapes(*flat['objects'])
        picture, mask = sent_images(request)
        return reply(text('done'), image(af.inpaint(picture, mask > 0)))

    return answer


def test_both(flat, source, tmp_path):
    """Mask and fill by Gemini: flat, header, advice in files, and a free rerun."""
    stages = tmp_path / 'stages'
    options = ['--detector', 'gemini', '--inpaint', 'gemini', '--stages', stages]
    with FakeGemini(both(flat)) as server:
        assert run(source, server, *options) == 0
        asked = len(server.requests)
        assert asked == 3
        assert run(source, server, *options, '--overwrite') == 0
        assert len(server.requests) == asked
    with fits.open(tmp_path / 'out.fits') as hdus:
        header, data = hdus[0].header, hdus[0].data
    assert header['AFDBY'] == header['AFIBY'] == 'gemini'
    assert header['AFDMODEL'] == 'gemini-fake-001'
    assert 'AIza' not in repr(header)
    assert abs(data[160, 60] - 0.8) < 0.02
    assert (data[:20] == 1).all()
    names = {p.name for p in stages.iterdir()}
    assert {'gemini_detector_1.json', 'gemini_inpainter_1.json'} <= names
    kept = json.loads((stages / 'gemini_detector_1.json').read_text())
    assert kept['provenance']['response'] == 'mQ4Fake-Response_Id'
    everything = b''.join(p.read_bytes() for p in tmp_path.rglob('*') if p.is_file())
    assert b'AIza' not in everything


def test_models_prompts_and_seed(source, tmp_path):
    """Each question has its own model and words."""
    (tmp_path / 'd.txt').write_text('Where is it?\n')
    with FakeGemini(shapes()) as server:
        options = ['--detector', 'gemini', '--inpaint', 'gemini', '--gemini-seed', '4']
        options += [
            '--gemini-model',
            'detector:mine',
            '--gemini-model',
            'inpaint:other',
        ]
        options += ['--prompt-file', f'detector:{tmp_path / "d.txt"}']
        assert run(source, server, *options) == 0
        path, _, body = server.requests[0]
    assert path.endswith('/mine:generateContent')
    content = json.loads(body)
    assert content['contents'][0]['parts'][0]['text'].startswith('Where is it?\n\n')
    assert content['generationConfig']['seed'] == 4


def test_one_model(source):
    """If one question is asked, its model needs no role."""
    with FakeGemini(shapes()) as server:
        run(source, server, '--detector', 'gemini', '--gemini-model', 'mine')
    assert server.requests[0][0].endswith('/mine:generateContent')


def test_dry_run(flat, source, tmp_path, monkeypatch, capsys):
    """Files show what would be sent; nothing is sent, no key read, no flat made."""
    monkeypatch.delenv('GEMINI_API_KEY')
    with FakeGemini(both(flat)) as server:
        options = ['--detector', 'gemini', '--dry-run']
        assert run(source, server, *options) == 0
        assert not server.requests
        body = (tmp_path / 'out.request' / 'request.json').read_bytes()
        monkeypatch.setenv('GEMINI_API_KEY', 'some-key')
        assert run(source, server, '--detector', 'gemini') == 0
        assert server.requests[0][2] == body
    names = {p.name for p in (tmp_path / 'out.request').iterdir()}
    assert names == {'request.json', 'prompt.txt', 'image_1.png'}
    capsys.readouterr()


def test_dry_run_of_the_fill(flat, source, tmp_path, capsys):
    """The offline mask decides what the fill would be asked."""
    with FakeGemini(both(flat)) as server:
        argv = ['dustflat', source, '-o', tmp_path / 'o.fits', '--inpaint', 'gemini']
        argv += ['--gemini-url', server.url, '--dry-run', '--no-figure']
        assert main([str(a) for a in argv]) == 0
        assert not server.requests
    shown = capsys.readouterr().out
    assert 'not sent' in shown
    assert 'image 2' in shown
    assert 'Paint what the camera' in shown
    assert not (tmp_path / 'o.fits').exists()
    assert (tmp_path / 'o.request' / 'image_2.png').exists()


@pytest.mark.filterwarnings('always::astroflat.AstroflatWarning')
def test_offline(flat, source, tmp_path, capsys):
    """--on-error offline goes on with a warning and says so in the header."""
    with FakeGemini(403) as server:
        options = ['--detector', 'gemini', '--on-error', 'offline']
        assert run(source, server, *options) == 0
        assert 'does not accept the key' in capsys.readouterr().err
        assert fits.getheader(tmp_path / 'out.fits')['AFDBY'] == 'offline'
        assert run(source, server, '--detector', 'gemini', '--overwrite') == 1
    message = capsys.readouterr().err
    assert message.startswith('astroflat: error: the service does not accept the key')
    assert 'AIza' not in message
    data = fits.getdata(tmp_path / 'out.fits')
    assert np.array_equal(data, af.dust_flat(source).flat.data)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--dry-run'], '--dry-run needs --detector gemini'),
        (['--gemini-model', 'x'], '--gemini-model needs'),
        (['--on-error', 'offline'], '--on-error needs'),
        (
            ['--detector', 'gemini', '--gemini-model', 'inpaint:x'],
            '--inpaint gemini was not asked for',
        ),
        (
            ['--detector', 'gemini', '--inpaint', 'gemini', '--gemini-model', 'x'],
            'write detector:x or inpaint:x',
        ),
        (['--detector', 'gemini', '--prompt-file', 'nothing.txt'], 'nothing.txt'),
    ],
)
def test_wrong_options(source, options, message, capsys):
    """Options that have nothing to act on are named."""
    assert run(source, None, *options) == 1
    assert message in capsys.readouterr().err
