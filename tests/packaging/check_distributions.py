# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Check what is inside a wheel and a source distribution.

Run as ``python check_distributions.py dist/*``; ends with an error message when
something is missing or does not belong there.
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path

# What only the repository needs, and what only a working copy has.
UNWANTED = re.compile(
    r'(^|/)(\.ci|\.github|\.tox|\.tmp|\.venv|__pycache__|_build|build|dist)/'
    r'|\.(pyc|nbi|nbc|so|ser|fits|log)$'
)
WANTED = {
    '.whl': (
        'astroflat/__init__.py',
        'astroflat/_version.py',
        'astroflat/py.typed',
        'astroflat/pipelines/pixinsight/astroflat-restore.js',
        'astroflat/visualization/page/view.css',
        'astroflat/visualization/page/view.js',
    ),
    '.gz': (
        'LICENSE.rst',
        'README.rst',
        'CHANGES.rst',
        'CITATION.cff',
        'pyproject.toml',
        'conftest.py',
        'astroflat/__init__.py',
        'docs/conf.py',
        'tests/packaging/check_distributions.py',
    ),
}


def member_names(path: Path) -> list[str]:
    """
    List the files in a distribution, relative to its root.

    Parameters
    ----------
    path : Path
        A wheel or a ``.tar.gz``.

    Returns
    -------
    list of str
        Names with forward slashes.
    """
    if path.suffix == '.whl':
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    with tarfile.open(path) as archive:
        members = [m.name for m in archive.getmembers() if m.isfile()]
    return [name.split('/', 1)[1] for name in members]


def problems(path: Path) -> list[str]:
    """
    Say in words what is wrong with one distribution.

    Parameters
    ----------
    path : Path
        A wheel or a ``.tar.gz``.

    Returns
    -------
    list of str
        Empty when all is well.
    """
    names = member_names(path)
    found = [f'{path.name}: has {name}' for name in names if UNWANTED.search(name)]
    found += [
        f'{path.name}: lacks {name}'
        for name in WANTED[path.suffix]
        if name not in names
    ]
    if path.suffix == '.whl':
        found += [
            f'{path.name}: has {name}'
            for name in names
            if not name.startswith(('astroflat/', 'astroflat-'))
        ]
    return found


if __name__ == '__main__':
    errors = [line for name in sys.argv[1:] for line in problems(Path(name))]
    if errors:
        sys.exit('\n'.join(errors))
    print(f'{len(sys.argv) - 1} distributions are complete and clean')
