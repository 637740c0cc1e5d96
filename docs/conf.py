# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Configuration of the documentation.

Builds with and without a network: see ``reachable_inventories``.
"""

from __future__ import annotations

import builtins
import importlib.util
import os
import sys
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

# Before anything imports it, in the gallery too.
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')

from sphinx_astropy.conf.v3 import *  # noqa: F403
from sphinx_astropy.conf.v3 import (
    exclude_patterns,
    extensions,
    numpydoc_xref_aliases,
)

sys.path.insert(0, str(Path(__file__).parents[1]))

import astroflat

# -- Project -------------------------------------------------------------------
project = 'astroflat'
author = 'The astroflat developers'
copyright = f'2026-{datetime.now(tz=UTC).year}, {author}'
if copyright.startswith('2026-2026'):
    copyright = f'2026, {author}'
release = astroflat.__version__
version = '.'.join(release.split('.')[:2])

needs_sphinx = '8.1'
extensions += ['sphinx_design', 'sphinx_gallery.gen_gallery']
exclude_patterns += ['changes', 'generated', '**.ipynb']
# A link where the name in single backticks can be imported, else emphasis.
default_role = 'autolink'
rst_epilog = ''
nitpicky = True


# -- Links to other documentation ------------------------------------------------
INVENTORIES = {
    'python': 'https://docs.python.org/3/',
    'numpy': 'https://numpy.org/doc/stable/',
    'scipy': 'https://docs.scipy.org/doc/scipy/',
    'matplotlib': 'https://matplotlib.org/stable/',
    'astropy': 'https://docs.astropy.org/en/stable/',
    'ccdproc': 'https://ccdproc.readthedocs.io/en/stable/',
    'photutils': 'https://photutils.readthedocs.io/en/stable/',
    'skimage': 'https://scikit-image.org/docs/stable/',
    'dask': 'https://docs.dask.org/en/stable/',
}


def reachable_inventories() -> dict[str, tuple[str, None]]:
    """Keep the sites that answer; none of them is tried after a first refusal."""
    mapping: dict[str, tuple[str, None]] = {}
    if os.environ.get('ASTROFLAT_DOCS_OFFLINE'):
        return mapping
    for name, url in INVENTORIES.items():
        try:
            with urllib.request.urlopen(url + 'objects.inv', timeout=5) as answer:
                answer.read(16)
        except (OSError, ValueError):
            if not mapping:
                break
        else:
            mapping[name] = (url, None)
    return mapping


intersphinx_mapping = reachable_inventories()
intersphinx_timeout = 20

nitpick_ignore_regex = [
    # Words of numpydoc type descriptions, not names.
    (r'py:(class|obj)', r'(array[-_]like|optional|callable|path|scalar)'),
    # Constants, and the private bases of public classes.
    (r'py:obj', r'([a-z_]+\.)*[A-Z_]+'),
    (r'py:class', r'astroflat\.([a-z_]+\.)*_\w+\.\w+'),
]
missing = set(INVENTORIES) - set(intersphinx_mapping)
if missing:
    # Without the inventory of a package its names cannot be checked.
    prefixes = '|'.join(sorted((missing | {'distributed'}) - {'python'}))
    nitpick_ignore_regex += [
        (r'py:.*', rf'({prefixes})(\..*)?'),
        (r'(py|std):.*', rf'({prefixes}|python):.*'),
    ]
if 'python' in missing:
    # The standard library has no common prefix.
    names = '|'.join(sorted(sys.stdlib_module_names | set(dir(builtins))))
    nitpick_ignore_regex.append((r'py:.*', rf'({names})(\..*)?'))

# Without PyTorch the modules of the training cannot be imported.
nitpick_ignore_regex.append((r'py:.*', r'torch\..*'))
if importlib.util.find_spec('torch') is None:
    exclude_patterns.append('reference/training.rst')
    suppress_warnings = [*globals().get('suppress_warnings', []), 'toc.excluded']

# -- Reference -------------------------------------------------------------------
automodapi_inheritance_diagram = False
automodapi_toctreedirnm = 'reference/api'
autodoc_typehints = 'none'
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
# Only these words become links; everything else stays as it is written.
numpydoc_xref_ignore = 'all'
numpydoc_xref_aliases |= {
    'CCDData': 'astropy.nddata.CCDData',
    'NDData': 'astropy.nddata.NDData',
    'Quantity': 'astropy.units.Quantity',
    'QTable': 'astropy.table.QTable',
    'Table': 'astropy.table.Table',
    'Time': 'astropy.time.Time',
    'ImageFileCollection': 'ccdproc.ImageFileCollection',
    'ndarray': 'numpy.ndarray',
    'Path': 'pathlib.Path',
    'FlatSolution': 'astroflat.FlatSolution',
    'DegradationModel': 'astroflat.DegradationModel',
}


def resolve_alias(app, env, node, contnode):
    """Find the page of a name that is documented under another of its modules."""
    if node.get('refdomain') != 'py':
        return None
    domain = env.domains.python_domain
    parts = node['reftarget'].split('.')
    for tail in ('.'.join(parts[-2:]), parts[-1]):
        for module in sorted(env.domaindata['py']['modules']):
            if f'{module}.{tail}' in domain.objects:
                return domain.resolve_xref(
                    env,
                    node['refdoc'],
                    app.builder,
                    'obj',
                    f'{module}.{tail}',
                    node,
                    contnode,
                )
    return None


def setup(app):
    app.connect('missing-reference', resolve_alias)


# -- Gallery ---------------------------------------------------------------------
sphinx_gallery_conf = {
    'abort_on_example_error': True,
    'backreferences_dir': 'generated/backreferences',
    'doc_module': ('astroflat',),
    'examples_dirs': '../examples',
    'filename_pattern': r'[\\/]plot_',
    'gallery_dirs': 'gallery',
    'min_reported_time': 1,
    'plot_gallery': 'True',
    'reference_url': {'astroflat': None},
    'remove_config_comments': True,
    'show_memory': False,
    'within_subsection_order': 'FileNameSortKey',
}

# -- Pages -----------------------------------------------------------------------
html_title = f'{project} {version}'
html_static_path = []
# Not the unified theme of Astropy: it has Astropy's menu and analytics, and astroflat
# is not a part of Astropy.
html_theme = 'pydata_sphinx_theme'
html_theme_options = {
    'logo': {'text': project},
    'navigation_with_keys': False,
    'show_toc_level': 2,
}
html_show_sourcelink = False
htmlhelp_basename = f'{project}doc'
linkcheck_ignore = [r'https://github\.com/astroflat/.*', r'https://doi\.org/.*']
