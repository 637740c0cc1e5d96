# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the cards and of how networks are found."""

from __future__ import annotations

import hashlib
import json
import string
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.config import set_temp_cache
from astropy.utils.data import get_cached_urls, import_file_to_cache
from hypothesis import given
from hypothesis import strategies as st

import astroflat as af
from astroflat.neural import (
    Model,
    ModelCard,
    ModelError,
    Session,
    _index,
    embed_card,
    find_model,
    list_models,
    models,
    read_card,
    write_index,
)

CARD = ModelCard(
    'tiny',
    'denoise',
    version='1.2',
    description='σ in, σ out',
    inputs=[{'name': 'x', 'channels': 1, 'meaning': 'the image'}],
    outputs=({'name': 'y', 'channels': 1, 'meaning': 'the noise'},),
    multiple=8,
    halo=40,
    scale=0.25,
    training={'data': 'simulated', 'images': 1000},
    metrics={'rms': 0.5},
    licence='BSD-3-Clause',
    extra={'table': [1, 2.5, None]},
)
URL = 'https://example.org/networks/tiny.onnx'


@pytest.fixture
def saved(make_net, tmp_path):
    """Return a function that saves a network with a card."""

    def save(name='tiny.onnx', card=CARD, **options):
        path = tmp_path / name
        path.write_bytes(make_net(card=card, **options))
        return path

    return save


def sha256(path):
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


# -------------------------------------------------------------------- cards
TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2)
    ),
    max_leaves=3,
).filter(lambda value: 'inf' not in repr(value).lower())


@given(name=TEXT.filter(bool), extra=st.dictionaries(TEXT, JSON, max_size=2))
def test_card_survives(name, extra):
    """A card is the same after it was written and read."""
    card = ModelCard(name, 'any task', extra=extra, multiple=3)
    text = card.to_json()
    assert text.isascii()
    assert ModelCard.from_json(text) == card


def test_card_of_a_file(saved):
    """A card is read back from the file, its path, its bytes and its model."""
    path = saved()
    for source in (path, str(path), path.read_bytes(), find_model(path)):
        assert read_card(source) == CARD
    assert isinstance(CARD.inputs, tuple)


def test_unknown_fields_are_kept():
    """Fields of a later version are in ``extra``."""
    fields = json.loads(CARD.to_json()) | {'colour': 'red'}
    card = ModelCard.from_json(json.dumps(fields))
    assert card.extra == CARD.extra | {'colour': 'red'}


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', 'damaged'),
        ('{"name": "a"', 'damaged'),
        ('[1, 2]', 'damaged'),
        ('{"name": "a"}', 'damaged'),
        (' ' * 2**21, 'damaged'),
        ('{"name": "a", "task": "b", "format": 2}', 'update astroflat'),
        ('{"name": "a", "task": "b", "halo": "3"}', "halo='3'; it must be an? int"),
        ('{"name": "a", "task": "b", "multiple": 2.0}', 'multiple=2.0'),
        ('{"name": "a", "task": "b", "multiple": true}', 'multiple=True'),
        ('{"name": "a", "task": "b", "extra": []}', 'extra='),
        ('{"name": "a", "task": "b", "multiple": 0}', 'multiple=0'),
        ('{"name": "a", "task": "b", "halo": -1}', 'halo=-1'),
        ('{"name": "a", "task": "b", "scale": NaN}', 'scale=nan'),
        ('{"name": "a", "task": ""}', 'lacks a name or a task'),
    ],
)
def test_bad_cards(text, words, make_net):
    """Cards that make no sense are refused, in a file as well."""
    with pytest.raises(ModelError, match=words):
        ModelCard.from_json(text)
    with pytest.raises(ModelError, match=words):
        Session(make_net(card=text))


@pytest.mark.parametrize(
    ('extra', 'words'),
    [
        ({'a': np.ones(2)}, 'cannot be written as JSON'),
        ({'a': np.nan}, 'cannot be written as JSON'),
        ({'a': 'x' * 2**20}, 'longer than 1 MiB'),
    ],
)
def test_cards_that_cannot_be_written(extra, words):
    """A card holds JSON, and not too much of it."""
    with pytest.raises(ModelError, match=words):
        ModelCard('a', 'b', extra=extra).to_json()


# ---------------------------------------------------------- writing of cards
def test_embed(saved, tmp_path):
    """A card is put into a file, and nothing else is changed."""
    onnx = pytest.importorskip('onnx')
    path = saved(card=None)
    before = path.read_bytes()
    output = embed_card(path, CARD, output=tmp_path / 'out.onnx')
    assert path.read_bytes() == before
    assert read_card(output) == CARD
    proto = onnx.load(output)
    assert {p.key for p in proto.metadata_props} == {'astroflat', 'producer'}
    del proto.metadata_props[:]
    original = onnx.load(path)
    del original.metadata_props[:]
    assert proto == original
    onnx.checker.check_model(proto)
    with pytest.raises(FileExistsError, match='overwrite'):
        embed_card(path, CARD, output=output)
    embed_card(path, ModelCard('b', 'c'), output=output, overwrite=True)
    assert read_card(output).name == 'b'


def test_embed_in_place(saved, tmp_path):
    """A card is replaced in place; the same card gives the same bytes."""
    pytest.importorskip('onnx')
    path = saved()
    embed_card(path, ModelCard('b', 'c'))
    first = path.read_bytes()
    assert read_card(path) == ModelCard('b', 'c')
    embed_card(path, ModelCard('b', 'c'))
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ['tiny.onnx']


def test_embed_takes_weights_in(saved, tmp_path):
    """Weights in a file beside the network end in the network."""
    onnx = pytest.importorskip('onnx')
    proto = onnx.load(saved(card=None))
    outside = tmp_path / 'outside.onnx'
    onnx.save(
        proto,
        outside,
        save_as_external_data=True,
        location='weights.bin',
        size_threshold=0,
    )
    output = embed_card(outside, CARD, output=tmp_path / 'one.onnx')
    (tmp_path / 'weights.bin').unlink()
    image = np.ones((1, 1, 9, 9))
    expected = Session(tmp_path / 'tiny.onnx').run(image)['y']
    np.testing.assert_array_equal(Session(output).run(image)['y'], expected)


def test_weights_outside_are_refused(saved, tmp_path, monkeypatch, capfd):
    """A network cannot make astroflat read other files."""
    onnx = pytest.importorskip('onnx')
    proto = onnx.load(saved())
    path = tmp_path / 'outside.onnx'
    options = {'location': 'weights.bin', 'size_threshold': 0}
    onnx.save(proto, path, save_as_external_data=True, **options)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match='weights in another file'):
        find_model(path)
    with pytest.raises(ModelError, match='weights in another file'):
        Session(path)
    assert capfd.readouterr() == ('', '')


def test_embed_without_onnx(saved, monkeypatch):
    """The error says what to install."""
    path = saved()
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(ImportError, match=r"pip install 'astroflat\[train\]'"):
        embed_card(path, CARD)
    assert read_card(path) == CARD


def test_embed_errors(saved, tmp_path):
    """What is no network is refused, and nothing is left behind."""
    pytest.importorskip('onnx')
    path = tmp_path / 'text.onnx'
    path.write_text('this is not a network')
    with pytest.raises(ModelError, match='not an ONNX file'):
        embed_card(path, CARD)
    assert path.read_text() == 'this is not a network'
    with pytest.raises(FileNotFoundError):
        embed_card(tmp_path / 'none.onnx', CARD)


# ------------------------------------------------------------------ finding
def test_find_by_path(saved):
    """A path finds the file, its card and its hash."""
    path = saved()
    for name in (path, str(path)):
        model = find_model(name, task='denoise')
        assert (model.path, model.card, model.sha256) == (path, CARD, sha256(path))
    assert repr(model) == '<Model tiny 1.2: denoise>'
    assert find_model(path, sha256=sha256(path).upper()).sha256 == sha256(path)
    assert find_model(model, task=('denoise', 'restore')) is model


def test_wrong_task(saved):
    """A network for something else is refused."""
    with pytest.raises(ModelError, match="'tiny' is for 'denoise', not for 'restore'"):
        find_model(saved(), task='restore')
    with pytest.raises(ModelError, match="not for 'a' or 'b'"):
        find_model(find_model(saved()), task=['a', 'b'])


def test_wrong_hash(saved):
    """A file with another hash is refused, and a hash that is none."""
    for name in (saved(), find_model(saved())):
        with pytest.raises(ModelError, match='not the file that it should be'):
            find_model(name, sha256=64 * '0')
    for bad in ('abc', 63 * '0', 64 * 'g', 5):
        with pytest.raises(ModelError, match='64 hexadecimal digits'):
            find_model(saved(), sha256=bad)


def test_foreign_file(saved):
    """A network without a card is refused, with the remedy."""
    path = saved(card=None)
    for function in (find_model, read_card):
        with pytest.raises(ModelError, match=r'without the card .*embed_card'):
            function(path)


def test_truncated_files(saved, capfd):
    """A file that ends anywhere but at its end is refused."""
    path = saved()
    data = path.read_bytes()
    for size in range(0, len(data), 7):
        path.write_bytes(data[:size])
        with pytest.raises(ModelError, match=r'tiny\.onnx'):
            find_model(path)
    assert capfd.readouterr() == ('', '')


@given(data=st.binary(max_size=200))
def test_noise_is_refused(data):
    """Bytes that are no network raise, whatever they are."""
    with pytest.raises(ModelError):
        read_card(data)


def test_no_code_is_run(tmp_path):
    """A pickle is not opened."""
    path = tmp_path / 'evil.onnx'
    path.write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    with pytest.raises(ModelError, match='not an ONNX file'):
        find_model(path)
    assert [p.name for p in tmp_path.iterdir()] == ['evil.onnx']


def test_large_file(saved, monkeypatch):
    """A file that is too large is refused before it is read."""
    path = saved()
    monkeypatch.setattr(models, '_LARGEST', 100)
    monkeypatch.setattr(Path, 'read_bytes', None)
    with pytest.raises(ModelError, match='networks may have up to'):
        find_model(path)


def test_not_a_file(tmp_path):
    """Folders and names of nothing are errors that name the remedy."""
    with pytest.raises(ModelError, match='is a folder'):
        find_model(tmp_path)
    with pytest.raises(FileNotFoundError, match='list_models'):
        find_model(tmp_path / 'none.onnx')
    with pytest.raises(FileNotFoundError, match=r"there is no file 'none\.onnx'"):
        find_model('none.onnx')


def test_changed_file(saved):
    """A file that was changed after it was found is not run."""
    model = find_model(saved())
    saved(seed=1)
    with pytest.raises(ModelError, match='has changed since'):
        Session(model)


# ---------------------------------------------------------------- shipped
@pytest.fixture
def weights(monkeypatch, make_net, tmp_path):
    """Return a folder that takes the place of the one in the package."""
    folder = tmp_path / 'weights'
    folder.mkdir()
    monkeypatch.setattr(_index, 'WEIGHTS', folder)
    for name, task in (('a', 'denoise'), ('b', 'denoise'), ('c', 'restore')):
        card = ModelCard(name, task, version='1', training={'data': 'simulated'})
        (folder / f'{name}.onnx').write_bytes(make_net(card=card))
    write_index(folder, defaults={'denoise': 'b'})
    return folder


def test_shipped(weights):
    """Networks are found by name, and the default of a task by 'default'."""
    assert find_model('a').path == weights / 'a.onnx'
    assert find_model('default', task='denoise').card.name == 'b'
    assert find_model('default', task='restore').card.name == 'c'
    with pytest.raises(ModelError, match=r"no network 'd'; .*a \(denoise\), b"):
        find_model('d')
    with pytest.raises(ModelError, match="'default' names no network for task None"):
        find_model('default')
    with pytest.raises(ModelError, match='no network for task'):
        find_model('default', task='other')
    with pytest.raises(ModelError, match="'a' is for 'denoise'"):
        find_model('a', task='restore')
    with pytest.raises(ModelError, match='has the SHA-256'):
        find_model('a', sha256=64 * '0')


def test_list(weights):
    """The table says what there is."""
    table = list_models()
    assert list(table['name']) == ['a', 'b', 'c']
    assert list(table['default']) == [False, True, True]
    assert list(table['trained_on']) == 3 * ['simulated']
    assert table['sha256'][1] == sha256(weights / 'b.onnx')
    size = (weights / 'a.onnx').stat().st_size
    assert table['size'].quantity[0].to_value('byte') == pytest.approx(size, abs=500)


def test_shipped_file_is_checked(weights):
    """A shipped file that is damaged or missing is said to be."""
    (weights / 'a.onnx').write_bytes((weights / 'b.onnx').read_bytes())
    with pytest.raises(ModelError, match='not the file that it should be'):
        find_model('a')
    (weights / 'a.onnx').unlink()
    with pytest.raises(ModelError, match='install astroflat again'):
        find_model('a')


def test_index_errors(weights, make_net):
    """An index has one default for each task, and each name once."""
    with pytest.raises(ModelError, match="task 'denoise' needs a default"):
        write_index(weights)
    with pytest.raises(ModelError, match="task 'denoise' needs a default"):
        write_index(weights, defaults={'denoise': 'c'})
    with pytest.raises(ModelError, match="task 'paint' needs a default"):
        write_index(weights, defaults={'denoise': 'a', 'paint': 'a'})
    (weights / 'd.onnx').write_bytes(make_net(card=ModelCard('a', 'denoise')))
    with pytest.raises(ModelError, match='the same name'):
        write_index(weights, defaults={'denoise': 'a'})
    (weights / 'index.json').write_text('{"format": 9}')
    with pytest.raises(ModelError, match='another kind'):
        find_model('a')


def test_no_index(weights):
    """Without an index there are no networks, and that is no error."""
    (weights / 'index.json').unlink()
    assert len(list_models()) == 0
    assert list_models()['size'].unit == 'Mbyte'
    with pytest.raises(ModelError, match='there are: none'):
        find_model('a')


def test_what_is_shipped():
    """The index lists exactly the files that are there, with their hashes."""
    folder = Path(models.__file__).parent / 'weights'
    entries = json.loads((folder / 'index.json').read_text())['models']
    assert sorted(e['file'] for e in entries) == sorted(
        path.name for path in folder.glob('*.onnx')
    )
    assert len(af.list_models()) == len(entries)
    for entry in entries:
        model = find_model(entry['name'], task=entry['task'])
        assert model.card.version == entry['version']
        assert model.card.licence
        assert entry['size'] <= 8e6
        assert Session(model, device='cpu').card == model.card


# ------------------------------------------------------------------ the web
@pytest.fixture
def cached(saved, tmp_path):
    """Return the hash of a network that is in the cache of astropy."""
    folder = tmp_path / 'cache'
    folder.mkdir()
    path = saved()
    with set_temp_cache(folder):
        import_file_to_cache(URL, path)
        yield sha256(path)


def test_web(cached):
    """A file from the web is taken from the cache, and its hash is checked."""
    model = find_model(URL, sha256=cached, task='denoise')
    assert (model.card, model.sha256) == (CARD, cached)
    assert Session(model).card == CARD


def test_web_hash(cached):
    """A file with another hash is refused, and removed from the cache."""
    with pytest.raises(ModelError, match='it was removed from the cache'):
        find_model(URL, sha256=64 * '0')
    assert URL not in get_cached_urls()


def test_web_needs(cached):
    """An address needs https and a hash; nothing is asked for without."""
    with pytest.raises(ModelError, match='needs sha256='):
        find_model(URL)
    for bad in ('http://example.org/a.onnx', 'file:///a.onnx', 'ftp://x/a.onnx'):
        with pytest.raises(ModelError, match='https://'):
            find_model(bad, sha256=cached)


def test_letters_of_a_name(cached):
    """Whatever looks like a name is not a path or an address."""
    for name in (*string.punctuation.replace('/', '').replace('\\', ''), ''):
        if name != '~':
            with pytest.raises(ModelError, match='there is no network'):
                find_model(name)


def test_model_is_a_value():
    """Models of the same file are equal."""
    assert Model(Path('a'), CARD, 'x') == Model(Path('a'), CARD, 'x')


@pytest.mark.parametrize(
    'text',
    [
        '[' * 100_000,
        '{"name": ' * 100_000,
        '{"name": "a", "task": "b", "inputs": 0.5}',
        '{"name": "a", "task": "b", "outputs": null}',
        '{"name": "a", "task": "b", "inputs": "xy"}',
        '{"name": "a", "task": "b", "extra": true, "new": 1}',
        '{"name": "a", "task": "b", "extra": "text", "new": 1}',
    ],
    ids=['arrays', 'objects', 'number', 'null', 'text', 'extra', 'extra-text'],
)
def test_card_of_a_wrong_shape(text):
    """Whatever the JSON holds where a list or an object belongs, it is refused."""
    with pytest.raises(ModelError, match=r'the model card (is damaged|has)'):
        ModelCard.from_json(text)


def test_metadata_is_not_text(saved):
    """Bytes that are no text in the metadata are damage, not a crash."""
    path = saved()
    data = path.read_bytes().replace(b'producer', b'produ\xff\xfer')
    for read in (read_card, Session):
        with pytest.raises(ModelError, match='its metadata is not text'):
            read(data)


def test_name_of_an_axis_is_not_text(saved):
    """The same for the names of inputs, outputs and their axes."""
    data = saved().read_bytes().replace(b'rows', b'ro\xffs')
    with pytest.raises(ModelError, match='a name in it is not text'):
        Session(data)
