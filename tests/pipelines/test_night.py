# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A whole night against its truth, and what is said about it."""

from __future__ import annotations

import csv
import json
import os
import shutil

import ccdproc
import numpy as np
import pytest
from astropy.io import fits
from night_folder import (
    GAIN,
    READNOISE,
    SHAPE,
    expose,
    flat_field,
    make_night,
    sky_scene,
    write,
)

import astroflat as af
from astroflat.io.images import read_ccd
from astroflat.pipelines import NightReport, run_night
from astroflat.pipelines._night_groups import NightOptions
from astroflat.pipelines._night_plan import make_plan
from astroflat.pipelines.night import _BYTES, _DECIDING, _count_workers


def contents(folder):
    """Return the bytes of all files by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


@pytest.fixture(scope='module')
def night(tmp_path_factory):
    """Run a night with flats that are right; two workers."""
    folder = tmp_path_factory.mktemp('night')
    scenes = make_night(folder, filters=('R',), n=5)
    before = contents(folder)
    output = tmp_path_factory.mktemp('results') / 'out'
    report = run_night(folder, output=output, n_workers=2)
    assert contents(folder) == before
    return folder, output, report, scenes


def test_result_is_the_sky(night):
    """Calibrated lights are the sky within their own uncertainty."""
    _, output, report, scenes = night
    assert (report.n_done, report.n_failed, report.verdict) == (5, 0, 'accept')
    for name, scene in scenes.items():
        ccd = read_ccd(output / name)
        chi = (ccd.data - scene) / ccd.uncertainty.array
        assert ccd.data.dtype == np.float32
        assert abs(np.mean(chi)) < 0.05
        assert np.std(chi) == pytest.approx(1, abs=0.05)
        assert ccd.wcs.wcs.crval == pytest.approx([10.0, 41.0])


def test_same_as_ccdproc(night):
    """The division is that of ccdproc.flat_correct."""
    folder, output, _, _ = night
    bias = af.median_flat(sorted(folder.glob('bias_*.fits')))
    flats = sorted(folder.glob('flats/*.fits'))
    flat = af.median_flat(flats, bias=bias, scale='median')
    raw = read_ccd(folder / 'R_000.fits')
    expected = ccdproc.flat_correct(ccdproc.subtract_bias(raw, bias), flat)
    np.testing.assert_allclose(
        read_ccd(output / 'R_000.fits').data, expected.data, rtol=2e-6
    )


def test_header_tells(night):
    """The cards of the camera stay, and those of the calibration are added."""
    _, output, _, _ = night
    header = fits.getheader(output / 'R_000.fits')
    assert (header['INSTRUME'], header['OBJECT']) == ('Cam', 'M 1')
    assert (header['AFMETH'], header['CALSTAT']) == ('night', 'B')
    assert (header['AFNBIAS'], header['AFNFLAT']) == (5, 5)
    assert (header['AFFLAT'], header['AFVERD']) == ('flats', 'accept')
    history = ' '.join(header['HISTORY'])
    assert 'bias: 5 bias frames; no dark' in history
    assert '/' not in history.replace('+/-', '')


def test_nothing_else_is_written(night):
    """Lights and the report, no work folder, no unfinished file."""
    _, output, report, _ = night
    lights = [f'R_{i:03d}.fits' for i in range(5)]
    assert sorted(contents(output)) == sorted(
        [*lights, 'night.csv', 'night.html', 'night.json']
    )
    assert sorted(p.name for p in report.paths) == lights


def test_report(night):
    """JSON, CSV and HTML tell of each file and each decision."""
    _, output, report, _ = night
    content = json.loads((output / 'night.json').read_text())
    (group,) = content['groups']
    assert (content['verdict'], group['flat']['method']) == ('accept', 'flats')
    assert 'the flats are right' in ' '.join(group['flat']['words'])
    preview = group['preview']
    assert preview['uneven_before_percent'] > 3 * preview['uneven_after_percent']
    assert len(content['frames']) == 5
    rows = list(csv.DictReader((output / 'night.csv').read_text().splitlines()))
    assert len(rows) == 15
    light = next(r for r in rows if r['file'] == 'R_000.fits')
    assert float(light['sky']) == pytest.approx(900, rel=0.01)
    assert float(light['noise']) == pytest.approx(
        np.hypot(np.sqrt(900 * GAIN), READNOISE) / GAIN, rel=0.08
    )
    page = (output / 'night.html').read_text()
    assert page.count('data:image/png;base64') == 2
    assert '<script' not in page
    assert 'Night 2025-03-01 M 1' in page
    assert 'the flats are right' in str(report)


def test_noise_is_measured(night):
    """Gain and read noise come from two flats and two bias frames."""
    _, output, _, _ = night
    words = json.loads((output / 'night.json').read_text())['frames'][0]['noise_words']
    gain, readnoise = (float(w.split(' e')[0].split()[-1]) for w in words)
    assert gain == pytest.approx(GAIN, rel=0.05)
    assert readnoise == pytest.approx(READNOISE, rel=0.08)


def test_second_run_does_nothing(night):
    """What is done stays, to the byte and the time of change; it is said."""
    folder, output, _, _ = night
    stamps = {p: p.stat().st_mtime_ns for p in output.iterdir()}
    again = run_night(folder, output=output)
    assert (again.n_done, again.n_kept, again.verdict) == (0, 5, 'accept')
    assert str(again).endswith('nothing to do: 5 lights were calibrated before')
    assert {p: p.stat().st_mtime_ns for p in output.iterdir()} == stamps


def test_lost_result_is_made_again(night, tmp_path):
    """A result that was deleted or cut comes back with the same bytes."""
    folder, output, _, _ = night
    copy = shutil.copytree(output, tmp_path / 'out')
    wanted = contents(output)
    (copy / 'R_001.fits').unlink()
    (copy / 'night.html').unlink()
    report = run_night(folder, output=copy, n_workers=1)
    assert (report.n_done, report.n_kept) == (1, 4)
    assert contents(copy) == wanted
    (copy / 'night.csv').unlink()
    assert run_night(folder, output=copy).n_done == 0
    assert contents(copy) == wanted


def test_other_settings_are_not_mixed(night, tmp_path):
    """Results of other settings are replaced only when asked to."""
    folder, output, _, _ = night
    copy = shutil.copytree(output, tmp_path / 'out')
    before = contents(copy)
    with pytest.raises(FileExistsError, match='overwrite=True'):
        run_night(folder, output=copy, flats='none')
    assert contents(copy) == before
    report = run_night(folder, output=copy, flats='none', overwrite=True, n_workers=1)
    assert report.n_done == 5
    assert fits.getheader(copy / 'R_000.fits')['AFFLAT'] == 'none'


def test_foreign_file_is_not_replaced(tmp_path):
    """A file that is not ours stops the run before anything is done."""
    make_night(tmp_path, n=1)
    output = tmp_path / 'out'
    output.mkdir()
    (output / 'R_000.fits').write_text('precious')
    with pytest.raises(FileExistsError, match='R_000'):
        run_night(tmp_path, output=output, flats='none')
    assert (output / 'R_000.fits').read_text() == 'precious'


def test_dry_run(tmp_path):
    """The plan is told; no folder and no file appears."""
    make_night(tmp_path, n=3)
    before = contents(tmp_path)
    report = run_night(tmp_path, dry_run=True)
    assert contents(tmp_path) == before
    assert not (tmp_path / 'calibrated').exists()
    assert report.dry_run
    text = str(report)
    assert '3 lights will tell whether the flats are right' in text
    assert '3 to do, 0 done already; nothing was written' in text


def test_plan_without_flats(tmp_path):
    """The plan speaks of the flats that there are, not of those that are wanted."""
    make_night(tmp_path, n=2, n_flat=0)
    text = str(run_night(tmp_path, dry_run=True, flats='given'))
    assert 'no flats: no flat is applied' in text
    assert 'used as they are' not in text
    text = str(run_night(tmp_path, dry_run=True, flats='lights'))
    assert 'each light gets a flat of its own, by networks' in text


def test_masters_can_be_kept_afterwards(tmp_path):
    """A night that is done still gets its masters, and nothing else changes."""
    make_night(tmp_path, n=2, n_flat=2)
    folder = tmp_path / 'calibrated'
    run_night(tmp_path, flats='given', n_workers=1)
    before = contents(folder)
    report = run_night(tmp_path, flats='given', n_workers=1, keep_masters=True)
    assert (report.n_done, report.n_kept) == (0, 2)
    kinds = {p.name.partition('-')[0] for p in (folder / 'masters').glob('*.fits')}
    assert kinds == {'bias', 'flat', 'group'}
    assert {n: b for n, b in contents(folder).items() if 'masters/' not in n} == before


def test_read_noise_of_the_header(tmp_path):
    """With one bias the header tells the noise; without any, nothing is guessed."""
    scenes = make_night(tmp_path, n=2, n_flat=0, n_bias=1, flat=np.ones(SHAPE))
    for name in scenes:
        fits.setval(tmp_path / name, 'EGAIN', value=GAIN)
        fits.setval(tmp_path / name, 'RDNOISE', value=READNOISE)
    report = run_night(tmp_path, flats='none', n_workers=1)
    assert f'read noise {READNOISE:g} e by the header' in str(report)
    assert 'no uncertainties' not in str(report)
    name, scene = next(iter(scenes.items()))
    ccd = read_ccd(tmp_path / 'calibrated' / name)
    # The single bias has the same read noise, which is not in the uncertainty.
    expected = np.sqrt(scene / GAIN + (READNOISE / GAIN) ** 2)
    assert np.median(ccd.uncertainty.array / expected) == pytest.approx(1, abs=0.02)
    (tmp_path / 'bias_0.fits').unlink()
    text = str(run_night(tmp_path, flats='none', dry_run=True))
    assert 'no uncertainties: without bias or dark nobody knows' in text


def test_stacked_light_is_named(tmp_path):
    """A combination beside single lights is left out, and that is said."""
    make_night(tmp_path, n=3, n_flat=0)
    fits.setval(tmp_path / 'R_002.fits', 'NCOMBINE', value=9)
    report = run_night(tmp_path, flats='none', n_workers=1)
    assert report.n_done == 2
    assert 'R_002.fits left out: a combination of frames' in str(report)


def test_light_without_a_level(tmp_path):
    """A light of bad pixels, and one below the bias, do not stop the report."""
    make_night(tmp_path, n=0, n_flat=0)
    write(tmp_path, 'a.fits', np.full(SHAPE, np.nan, np.float32), 'Light Frame')
    write(tmp_path, 'b.fits', np.full(SHAPE, 3, np.uint16), 'Light Frame')
    report = run_night(tmp_path, flats='none', n_workers=1)
    assert (report.n_done, report.n_failed) == (2, 0)
    assert (tmp_path / 'calibrated' / 'night.html').is_file()


def test_name_that_is_no_text(tmp_path):
    """A name from an old archive, not in UTF-8, comes through to the report."""
    make_night(tmp_path, n=2, n_flat=0)
    name = os.fsdecode(b'Nebel_\xfc 1.fits')
    try:
        (tmp_path / 'R_000.fits').rename(tmp_path / name)
    except OSError:
        pytest.skip('no such names here')
    report = run_night(tmp_path, flats='none', n_workers=1)
    assert report.n_done == 2
    assert (tmp_path / 'calibrated' / name).is_file()
    assert r'Nebel_\udcfc 1.fits' in (tmp_path / 'calibrated/night.csv').read_text()
    assert run_night(tmp_path, flats='none').n_kept == 2


def test_stale_flats_are_repaired(tmp_path):
    """A mote that moved since the flats is found, said, and taken out right."""
    old = flat_field(motes=((60, 70, 9, 0.1),))
    now = flat_field(motes=((54, 76, 9, 0.1),))
    scenes = make_night(
        tmp_path, n=6, flat=old, flat_on_sky=now, flat_minutes=-60 * 24 * 40
    )
    report = run_night(tmp_path, n_workers=1)
    text = str(report)
    assert report.verdict == 'weak'
    assert 'stale: 40 days' in text
    assert 'the flats are not right, and were repaired' in text
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    place = np.hypot(y - 54, x - 76) < 7
    given = flat_field(motes=((60, 70, 9, 0.1),))
    errors = []
    for name, scene in scenes.items():
        ccd = read_ccd(tmp_path / 'calibrated' / name)
        assert ccd.meta['AFFLAT'] == 'repair'
        errors.append(np.median(ccd.data[place] / scene[place]) - 1)
    untouched = np.median((now / given)[place]) - 1
    assert abs(np.mean(errors)) < 0.2 * abs(untouched)


def test_no_flats(tmp_path):
    """Five lights make their own flat, of the dust at least, and it is said."""
    make_night(tmp_path, n=5, n_flat=0)
    report = run_night(tmp_path, n_workers=1)
    assert report.n_done == 5
    text = str(report)
    assert 'no flats were found' in text
    assert 'chosen: ' in text
    content = json.loads((tmp_path / 'calibrated/night.json').read_text())
    preview = content['groups'][0]['preview']
    assert preview['uneven_after_percent'] < preview['uneven_before_percent']


def test_one_light(tmp_path):
    """A single light is flattened by the networks, which the header names."""
    make_night(tmp_path, n=1, n_flat=0)
    report = run_night(tmp_path, n_workers=1)
    header = fits.getheader(tmp_path / 'calibrated/R_000.fits')
    assert header['AFFLAT'] == 'FlatCorrector'
    assert header['AFVERD'] == report.frames[0]['verdict']
    if header['AFVERD'] != 'reject':
        assert len(header['AFMODSHA']) > 10


def test_bare_night(tmp_path):
    """Without bias, dark, flats and gain the lights stay; what is missing is said."""
    rng = np.random.default_rng(0)
    raw = expose(sky_scene(rng), rng)
    write(tmp_path, 'a.fits', raw, None, EXPTIME=5.0)
    report = run_night(tmp_path, flats='none')
    ccd = read_ccd(tmp_path / 'calibrated/a.fits')
    assert np.array_equal(ccd.data, raw.astype(np.float32))
    assert ccd.uncertainty is None
    assert report.verdict == 'weak'
    text = ' '.join(report.reasons)
    for word in ('guessed', 'zero point is unknown', 'no uncertainties'):
        assert word in text


def test_darks_are_scaled(tmp_path):
    """A long dark less the bias is scaled to the exposure of the light."""
    rng = np.random.default_rng(2)
    y, _ = np.mgrid[: SHAPE[0], : SHAPE[1]]
    current = 0.5 + y / 40.0
    for i in range(9):
        data = expose(np.zeros(SHAPE), rng)
        write(tmp_path, f'b{i}.fits', data, 'BIAS', EXPTIME=0.0)
        data = expose(np.zeros(SHAPE), rng, dark=300 * current)
        write(tmp_path, f'd{i}.fits', data, 'DARK', EXPTIME=300.0)
    scene = np.full(SHAPE, 500.0)
    for exposure in (100.0, 300.0):
        data = expose(scene, rng, dark=exposure * current)
        name = f'l{exposure:.0f}.fits'
        write(tmp_path, name, data, 'LIGHT', EXPTIME=exposure, EGAIN=GAIN)
    report = run_night(tmp_path, flats='none', keep_masters=True)
    assert report.n_done == 2
    for exposure, dark_scale in ((100.0, 1 / 3), (300.0, None)):
        ccd = read_ccd(tmp_path / f'calibrated/l{exposure:.0f}.fits')
        chi = (ccd.data - scene) / ccd.uncertainty.array
        assert abs(np.mean(chi)) < 0.08
        assert np.std(chi) == pytest.approx(1, abs=0.05)
        assert ccd.meta['CALSTAT'] == 'BD'
        found = ccd.meta.get('AFDSCALE')
        assert found == (pytest.approx(dark_scale, abs=1e-6) if dark_scale else None)
    kinds = {p.name.split('-')[0] for p in (tmp_path / 'calibrated/masters').iterdir()}
    assert kinds == {'bias', 'dark'}


def test_mosaic_keeps_its_colours(tmp_path):
    """A flat of a mosaic takes the vignette out and leaves the colours."""
    rng = np.random.default_rng(4)
    flat = flat_field()
    blue = np.ones(SHAPE)
    blue[1::2, 1::2] = 3.0
    red = np.ones(SHAPE)
    red[::2, ::2] = 2.0
    cards = {'BAYERPAT': 'RGGB', 'FILTER': 'none'}
    for i in range(3):
        data = expose(np.zeros(SHAPE), rng)
        write(tmp_path, f'b{i}.fits', data, 'BIAS', EXPTIME=0.0)
        data = expose(9000 * flat * blue, rng)
        write(tmp_path, f'f{i}.fits', data, 'FLAT', EXPTIME=2.0, **cards)
        data = expose(3000 * flat * red, rng)
        write(tmp_path, f'l{i}.fits', data, 'LIGHT', EXPTIME=60.0, **cards)
    report = run_night(tmp_path, n_workers=1)
    assert 'mosaic' not in ' '.join(report.reasons)
    ccd = read_ccd(tmp_path / 'calibrated/l0.fits')
    true = 3000 * red
    assert np.mean(ccd.data / true) == pytest.approx(1, abs=2e-3)
    chi = (ccd.data - true) / ccd.uncertainty.array
    assert np.std(chi) == pytest.approx(1, abs=0.06)


def test_masks_and_uncertainties_are_kept(tmp_path):
    """What a light brings along stays, and grows by what the masters add."""
    rng = np.random.default_rng(3)
    for i in range(5):
        write(tmp_path, f'b{i}.fits', expose(np.zeros(SHAPE), rng), 'BIAS', EXPTIME=0.0)
    path = write(tmp_path, 'l.fits', expose(np.full(SHAPE, 100.0), rng), 'LIGHT')
    ccd = read_ccd(path)
    mask = np.zeros(SHAPE, bool)
    mask[3, 4:9] = True
    ccd.mask = mask
    ccd.uncertainty = ccdproc.create_deviation(
        ccd, gain=1 / ccd.unit * ccd.unit, readnoise=0 * ccd.unit
    ).uncertainty
    ccd.uncertainty.array = np.full(SHAPE, 7.0)
    ccd.write(path, overwrite=True)
    run_night(tmp_path, flats='none')
    result = read_ccd(tmp_path / 'calibrated/l.fits')
    assert np.array_equal(result.mask, mask)
    bias = af.median_flat(sorted(tmp_path.glob('b*.fits')))
    expected = np.hypot(7.0, bias.uncertainty.array)
    np.testing.assert_allclose(result.uncertainty.array, expected, rtol=1e-5)


def test_damage_does_not_stop_the_night(tmp_path):
    """A light that is cut short is reported; the others are calibrated."""
    make_night(tmp_path, n=3)
    path = tmp_path / 'R_001.fits'
    path.write_bytes(path.read_bytes()[:12000])
    report = run_night(tmp_path, flats='given', n_workers=1)
    assert (report.n_done, report.n_failed, report.success) == (2, 1, False)
    assert report.verdict == 'reject'
    assert 'R_001.fits failed: it is cut short' in ' '.join(report.reasons)
    assert not (tmp_path / 'calibrated/R_001.fits').exists()
    again = run_night(tmp_path, flats='given')
    assert (again.n_done, again.n_failed, again.success) == (0, 1, False)


def test_saturated_flats(tmp_path):
    """Saturated flats are left out; if all are, the lights make the flat."""
    make_night(tmp_path, n=2, n_flat=3)
    full = np.full(SHAPE, 65000, np.uint16)
    write(
        tmp_path, 'flats/full.fits', full, 'FLAT', FILTER='R', EXPTIME=9.0, minutes=-55
    )
    report = run_night(tmp_path, flats='given', n_workers=1)
    assert '1 of 4 flats left out: saturated' in str(report)
    for path in (tmp_path / 'flats').glob('flat_*.fits'):
        path.unlink()
    report = run_night(tmp_path, output=tmp_path / 'b', flats='given')
    assert 'all 1 flats are saturated' in ' '.join(report.reasons)
    assert report.verdict == 'reject'


def test_one_run_at_a_time(tmp_path):
    """A second run into the same folder is refused while the first lives."""
    fcntl = pytest.importorskip('fcntl')
    make_night(tmp_path, n=1)
    work = tmp_path / 'calibrated/.night'
    work.mkdir(parents=True)
    with (work / 'lock').open('w') as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError, match='another run'):
            run_night(tmp_path, flats='none')
    assert run_night(tmp_path, flats='none').n_done == 1


def test_memory_limits_the_workers():
    """As many frames at a time as fit; one always does."""
    from astroflat.pipelines._night_files import NightFile

    files = [NightFile('a.fits', 'light', '', {'shape': [1000, 2000]})]
    plan = make_plan(files, NightOptions())
    assert _count_workers(plan, 8, 3.5 * _BYTES * 2e6) == 3
    assert _count_workers(plan, 2, 3.5 * _BYTES * 2e6) == 2
    assert _count_workers(plan, 8, 1.0) == 1


def test_folders_of_the_same_names(tmp_path, monkeypatch):
    """What lies in the current folder is no part of what results depend on."""
    make_night(tmp_path / 'raw', n=2, n_flat=2, n_bias=2)
    monkeypatch.chdir(tmp_path)
    run_night('raw', output='out', flats='none')
    for name in ('bias', 'flat', 'dark', 'light', 'none', 'auto'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'new').touch()
    report = run_night('raw', output='out', flats='none')
    assert (report.n_done, report.n_kept) == (0, 2)


def test_memory_of_a_decision_is_told(tmp_path):
    """A flat that takes more memory than allowed is announced, not refused."""
    make_night(tmp_path, n=2)
    need = _DECIDING * SHAPE[0] * SHAPE[1]
    text = 'to decide on the flat takes'
    for options, told in (
        ({'mem_limit': 0.9 * need}, True),
        ({'mem_limit': 1.1 * need}, False),
        ({'mem_limit': 0.9 * need, 'flats': 'given'}, False),
    ):
        report = run_night(tmp_path, dry_run=True, **options)
        assert (text in str(report)) == told


def test_wrong_arguments(tmp_path):
    """Errors name the argument and the value."""
    for options, match in [
        ({'flats': 'x'}, "flats must be one of .*'x'"),
        ({'sample': 0}, 'sample must be at least 1'),
        ({'n_workers': 0}, 'n_workers must be at least 1'),
        ({'mem_limit': -1}, 'mem_limit must be positive'),
        ({'output': tmp_path}, 'choose another'),
    ]:
        with pytest.raises(ValueError, match=match):
            run_night(tmp_path, **options)
    with pytest.raises(ValueError, match='no lights, but no FITS file'):
        run_night(tmp_path)


def test_report_object():
    """Failures and rejected flats are no success."""
    assert NightReport('x').success
    assert not NightReport('x', n_failed=1).success
    assert not NightReport('x', verdict='reject').success
    assert NightReport('x', 'weak', ['why']).report.reasons == ['why']
