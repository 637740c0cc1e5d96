# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of what images are collected from: lists, feeds, pages and archives."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest
from astropy.table import Table
from collect_site import LICENCE, collect, encoded, files, manifest, sky

from astroflat.cli import main
from astroflat.training.collect import query_archive


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
