# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Habits of the code base that no linter checks.
"""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from pathlib import Path

import pytest

import astroflat

ROOT = Path(__file__).parents[2]
LICENCE = '# Licensed under a 3-clause BSD style license - see LICENSE.rst'
FOLDERS = ('astroflat', 'tests', 'examples', 'benchmarks', 'docs')
SOURCES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob('*.py')
    if not {'_version.py', '_build', 'gallery', 'generated'}.intersection(path.parts)
)
MODULES = [path for path in SOURCES if 'astroflat' in path.relative_to(ROOT).parts[0]]


def public_callables() -> dict[str, object]:
    """Return the functions and classes of the root and of its sub-packages."""
    members = [getattr(astroflat, name) for name in astroflat.__all__]
    named = {
        f'{module.__name__}.{name}': getattr(module, name)
        for module in (astroflat, *filter(inspect.ismodule, members))
        for name in module.__all__
    }
    return {
        name: value
        for name, value in named.items()
        if callable(value)
        and value.__module__.startswith('astroflat')
        and not (inspect.isclass(value) and issubclass(value, Exception))
        # A protocol is not called: it has no parameters of its own.
        and not getattr(value, '_is_protocol', False)
    }


CALLABLES = public_callables()
FUNCTIONS = {k: v for k, v in CALLABLES.items() if inspect.isfunction(v)}

pytestmark = pytest.mark.skipif(
    not (ROOT / 'pyproject.toml').exists(), reason='needs the source tree'
)


def relative(path: Path) -> str:
    """Name a test after the file that it looks at."""
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize('path', SOURCES, ids=relative)
def test_licence_line(path):
    """Every module starts with the licence line."""
    assert path.read_text(encoding='utf-8').splitlines()[0] == LICENCE


@pytest.mark.parametrize('path', MODULES, ids=relative)
def test_module_is_small(path):
    """No module is longer than 600 lines, no function longer than 80 code lines."""
    source = path.read_text(encoding='utf-8')
    assert len(source.splitlines()) <= 600
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            lines = node.end_lineno - node.lineno
            text = ast.get_docstring(node, clean=False) or ''
            assert lines - text.count('\n') <= 80, node.name


@pytest.mark.parametrize('name', CALLABLES)
def test_public_docstring(name):
    """Every public function and class shows its parameters and an example."""
    doc = inspect.getdoc(CALLABLES[name])
    if inspect.signature(CALLABLES[name]).parameters:
        assert re.search(PARAMETERS, doc)
    assert 'Examples\n--------' in doc
    assert '>>> ' in doc


# The fields of a named tuple are its attributes.
PARAMETERS = r'(?:Parameters|Attributes)\n-+\n'


def documented(doc: str) -> list[str]:
    """Return the names in the Parameters section of a docstring, in order."""
    section = re.search(PARAMETERS + r'(.*?)(?=\n\w[\w ]+\n---|\Z)', doc, re.DOTALL)
    if section is None:
        return []
    heads = re.findall(r'^(\*{0,2}\w.*?)(?: : |$)', section[1], re.MULTILINE)
    return [name.strip('* ') for head in heads for name in head.split(',')]


@pytest.mark.parametrize('name', CALLABLES)
def test_documented_parameters(name):
    """The parameters in the docstring are those of the signature."""
    value = CALLABLES[name]
    assert sorted(documented(inspect.getdoc(value))) == sorted(
        inspect.signature(value).parameters
    )


@pytest.mark.parametrize('name', FUNCTIONS)
def test_at_most_two_positional(name):
    """A public function takes at most two arguments by position."""
    parameters = inspect.signature(FUNCTIONS[name]).parameters.values()
    kinds = [parameter.kind for parameter in parameters]
    limit = 3 if name.endswith('.synthetic_flat') else 2
    assert kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) <= limit


def test_ci_runs_the_command_of_the_readme():
    """The test command in the README is the one that CI runs."""
    assert '\n   python -m pytest\n' in (ROOT / 'README.rst').read_text()
    ci = ROOT / '.ci' / 'run'
    if ci.exists():
        assert '\npython -m pytest ' in ci.read_text()


def test_no_upper_caps_and_one_onnxruntime():
    """Dependencies have lower bounds only; one ONNX Runtime fits each platform."""
    from packaging.requirements import Requirement

    table = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    requirements = [Requirement(text) for text in table['dependencies']]
    for requirement in requirements:
        operators = {spec.operator for spec in requirement.specifier}
        assert operators == {'>='}, requirement
    runtimes = [r for r in requirements if r.name.startswith('onnxruntime')]
    for system in ('linux', 'win32', 'darwin', 'freebsd14'):
        for machine in ('x86_64', 'AMD64', 'aarch64', 'arm64', 'ARM64'):
            platform = {'sys_platform': system, 'platform_machine': machine}
            fitting = [r.name for r in runtimes if r.marker.evaluate(platform)]
            assert len(fitting) == 1, platform


def imported_names(path: Path) -> set[str]:
    """Return the top-level packages that a module imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split('.')[0])
    return names


def test_nothing_leaves_the_machine():
    """One module asks a service, one fetches images, one serves this machine."""
    network = {'aiohttp', 'ftplib', 'http', 'httpx', 'requests', 'socket', 'urllib'}
    importers = {'onnxruntime': set(), 'google': set()}
    for path in MODULES:
        names = imported_names(path)
        if relative(path) == 'astroflat/visualization/_view_server.py':
            # It waits on the loopback address, and asks nobody.
            assert names & network == {'http'}
            assert '127.0.0.1' in path.read_text(encoding='utf-8')
        elif relative(path) != 'astroflat/training/_collect_http.py':
            assert not names & network, path
        for name in names & importers.keys():
            importers[name].add(relative(path))
    assert importers['onnxruntime'] == {'astroflat/neural/runtime.py'}
    assert importers['google'] == {'astroflat/genai/_client.py'}


def test_telemetry_is_off_before_the_import():
    """The switch of ONNX Runtime is set by the function that imports it."""
    from astroflat.neural import load_onnxruntime

    source = inspect.getsource(load_onnxruntime)
    assert source.index('setdefault(') < source.index('import onnxruntime\n')
