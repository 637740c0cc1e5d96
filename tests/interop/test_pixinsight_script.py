# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
The script for PixInsight, executed with stand-ins for what PixInsight has.

PixInsight itself cannot be run here: the stand-ins follow its documented classes, so
this shows that the script works as it is meant, not that PixInsight agrees.
"""

from __future__ import annotations

import importlib.resources
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from astroflat.cli import _parser

SCRIPT = importlib.resources.files('astroflat.pipelines') / 'pixinsight'
SCRIPT = SCRIPT / 'astroflat-restore.js'
STUBS = Path(__file__).with_name('pixinsight_stubs.js')
NODE = shutil.which('node')

pytestmark = pytest.mark.skipif(NODE is None, reason='needs node')

# A program that does as the command does, but in no time: arguments to a file,
# progress and messages out, an exit code, and the input as its output.
PROGRAM = """#!{python}
import json, shutil, sys
json.dump(sys.argv[1:], open({log!r}, 'w'))
for percent in range(0, 101, 4):
    print(f'progress {{percent}} % in.xisf: restore')
print('1 images restored on cpu; 0 samples clipped')
if {code} not in (0, 3):
    print('astroflat: warning: first', file=sys.stderr)
    print('astroflat: error: 2 usable stars', file=sys.stderr)
elif not {lost}:
    shutil.copy(sys.argv[2], sys.argv[4])
    open(sys.argv[4].replace('.xisf', '.json'), 'w').write('{{}}')
sys.exit({code})
"""


@pytest.fixture
def run(tmp_path):
    """Run the script with a program and what a user does."""
    folder = tmp_path / 'a folder with blanks'
    folder.mkdir()
    log = folder / 'arguments.json'

    def run(*, code=0, lost=False, **case):
        program = folder / 'the program'
        text = PROGRAM.format(python=sys.executable, log=str(log), code=code, lost=lost)
        program.write_text(text)
        program.chmod(0o755)
        settings = {'astroflat/program': str(program), **case.pop('settings', {})}
        temporary = folder / 'temporary'
        temporary.mkdir(exist_ok=True)
        case = {'settings': settings, 'temporary': str(temporary), **case}
        (folder / 'case.json').write_text(json.dumps(case))
        done = subprocess.run(
            [NODE, str(STUBS), str(SCRIPT), str(folder / 'case.json')],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        # Nothing is left in the folder for temporary files, whatever happened.
        assert list(temporary.iterdir()) == []
        seen = json.loads(done.stdout)
        seen['arguments'] = json.loads(log.read_text()) if log.exists() else None
        return seen

    return run


@pytest.fixture(autouse=True)
def _posix():
    """Skip where a text file is no program."""
    if sys.platform == 'win32':
        pytest.skip('needs programs that are text files')


def test_result_is_a_new_window(run):
    """The active image goes to the command, and its result to a window of its own."""
    seen = run(dials={'strength': {'value': 0.7}, 'protect': {'currentItem': 1}})
    (window,) = seen['windows']
    assert window['id'] == 'M1_restored'
    assert (window['width'], window['height'], window['channels']) == (30, 20, 3)
    assert (window['bits'], window['isFloat'], window['isColor']) == (32, True, True)
    assert window['shown']
    assert window['keywords'] == [{'name': 'OBJECT', 'value': 'M 1'}]
    assert window['solution'] == 'source'
    assert seen['boxes'] == []
    assert seen['freed']
    assert len(seen['removed']) == 3
    # Progress is shown now and then, and every other line as it is.
    lines = [text for kind, text in seen['console'] if kind == 'line']
    shown = [line for line in lines if ' % ' in line]
    assert 10 < len(shown) < 26
    assert shown[-1] == '100 % in.xisf: restore'
    assert lines[-1] == '1 images restored on cpu; 0 samples clipped'


def test_arguments_are_those_of_the_command(run):
    """What the script passes is understood by the command, with its meaning."""
    dials = {'fwhm': {'value': 3.25}, 'denoise': {'value': 0.5}}
    dials['device'] = {'currentItem': 2}
    arguments = run(dials=dials)['arguments']
    args = _parser('restore').parse_args(arguments)
    assert args.fwhm == 3.25
    assert (args.strength, args.denoise) == (1.0, 0.5)
    assert (args.protect, args.device, args.dtype) == ('none', 'cuda', 'float32')
    assert args.overwrite
    assert args.figure is False
    assert args.source[0].endswith('_in.xisf')
    assert args.output.endswith('_out.xisf')
    # Without a width the stars are measured.
    assert _parser('restore').parse_args(run()['arguments']).fwhm is None


def test_choices_are_those_of_the_command():
    """The names in the script are those that the command knows."""
    from astroflat.cli.restore import _PROTECT

    text = SCRIPT.read_text(encoding='utf-8')
    line = next(row for row in text.splitlines() if row.startswith('var AF_PROTECT'))
    assert json.loads(line.split('=')[1].rstrip(';')) == list(_PROTECT)


def test_settings_are_remembered(run):
    """What was chosen is there the next time."""
    seen = run(dials={'fwhm': {'value': 2.5}})
    assert seen['settings']['astroflat/fwhm'] == 2.5
    again = run(settings={'astroflat/fwhm': 2.5, 'astroflat/strength': 0.25})
    args = _parser('restore').parse_args(again['arguments'])
    assert (args.fwhm, args.strength) == (2.5, 0.25)


@pytest.mark.parametrize('code', [1, 2, 130])
def test_exit_codes_are_checked(run, code):
    """A command that fails makes no window, and its last message is shown."""
    seen = run(code=code)
    assert seen['windows'] == []
    (text,) = seen['boxes']
    assert f'(exit code {code})' in text
    assert text.endswith('astroflat: error: 2 usable stars')
    assert ['warning', 'astroflat: warning: first'] in seen['console']


def test_rejected_result_is_shown_with_a_warning(run):
    """With 3 there is a result, which its own report rejects."""
    seen = run(code=3)
    assert len(seen['windows']) == 1
    (text,) = seen['boxes']
    assert 'rejects' in text


def test_no_result(run):
    """A command that says it succeeded without a result is not believed."""
    seen = run(lost=True)
    assert seen['windows'] == []
    assert 'without a result' in seen['boxes'][0]


@pytest.mark.parametrize('platform', ['Linux', 'MSWINDOWS'])
def test_program_that_is_not_there(run, platform):
    """The dialog says how to find the program."""
    name = {'astroflat/program': '/no/such program'}
    for silent in (False, True):
        seen = run(settings=name, platform=platform, silentStart=silent)
        assert seen['windows'] == []
        assert 'Give the full path' in seen['boxes'][0]


def test_libraries_of_pixinsight_are_kept_from_python(run):
    """On Linux the program does not get the libraries of PixInsight."""
    started = run()['started'][0]
    assert started[0] == '/usr/bin/env'
    assert started[1][:2] == ['-u', 'LD_LIBRARY_PATH']
    started = run(platform='MACOSX')['started'][0]
    assert started[0].endswith('the program')


def test_abort_cancel_and_no_image(run):
    """The program is stopped on demand; without an image nothing starts."""
    seen = run(abortAfter=5)
    assert seen['killed']
    assert seen['boxes'] == ['aborted']
    assert run(press='Cancel')['started'] == []
    assert run(noImage=True)['started'] == []


def test_temporary_folder_is_full(run):
    """A file that cannot be made is an error with its name."""
    seen = run(cannotCreate=True)
    assert 'cannot create' in seen['boxes'][0]
    assert seen['started'] == []
