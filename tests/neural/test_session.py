# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Tests of the sessions: numbers, errors, devices, threads and processes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import signal

from astroflat import AstroflatError
from astroflat.neural import (
    DeviceError,
    ModelCard,
    ModelError,
    ProviderFallbackWarning,
    Session,
    _backend,
    _devices,
    check_parity,
    find_model,
    get_session,
    load_onnxruntime,
    runtime,
    sessions,
)

RNG = np.random.default_rng(3)
IMAGE = RNG.standard_normal((1, 1, 20, 31), dtype=np.float32)
DEEP = (('Conv', 4, 3), ('Relu',), ('Conv', 2, 3))


def kernel(seed=0):
    """Return the weights of the network of one convolution."""
    draw = np.random.default_rng(seed).standard_normal((1, 1, 3, 3))
    return (draw / 3).astype(np.float32)[0, 0]


def test_numbers(make_net):
    """One convolution is the correlation that SciPy computes."""
    found = Session(make_net()).run({'x': IMAGE})
    expected = signal.correlate2d(IMAGE[0, 0].astype(float), kernel(), 'same')
    assert list(found) == ['y']
    assert found['y'].dtype == np.float32
    np.testing.assert_allclose(found['y'][0, 0], expected, atol=2e-6)


@pytest.mark.parametrize('dtype', ['float64', '>f4', '<f2', 'int16', '>u2', 'bool'])
def test_types(make_net, dtype):
    """Arrays of any real type and layout give what float32 gives."""
    session = Session(make_net())
    image = (100 * np.abs(IMAGE)).astype(dtype).transpose(0, 1, 3, 2)
    before = image.copy()
    found = session.run(image)['y']
    np.testing.assert_array_equal(image, before)
    plain = np.ascontiguousarray(image.astype(np.float32))
    np.testing.assert_array_equal(found, session.run(plain)['y'])


def test_two_inputs(make_sum):
    """Inputs go by name."""
    a, b = RNG.standard_normal((2, 3, 1, 5, 8), dtype=np.float32)
    session = Session(make_sum())
    assert [slot.name for slot in session.inputs] == ['a', 'b']
    assert session.inputs[0].shape == ('batch', 1, 'rows', 8)
    np.testing.assert_array_equal(session.run({'b': b, 'a': a})['s'], a + b)


A = np.ones((1, 1, 5, 8))


@pytest.mark.parametrize(
    ('inputs', 'words'),
    [
        (A, 'several inputs'),
        ({'a': A}, "'b' is missing"),
        ({'a': A, 'b': A, 'c': A}, "'c' is not known"),
        ({'a': A, 'b': A[0]}, r"'b' has the shape \(1, 5, 8\)"),
        ({'a': A, 'b': A[..., :7]}, r'takes b \(batch, 1, rows, 8\)'),
        ({'a': A, 'b': A[:, :, :0]}, "'b' has the shape"),
        ({'a': A, 'b': A[:, :, :3]}, "axis 'rows' has 5 elements in 'a' and 3"),
        ({'a': A, 'b': A * 1j}, "'b' is of type complex128"),
        ({'a': A, 'b': np.full(A.shape, 'a')}, "'b' is of type <U1"),
        ({'a': A, 'b': np.where(A, np.nan, A)}, "'b' has values that are not finite"),
        ({'a': A, 'b': np.where(A, -np.inf, A)}, "'b' has values that are not finite"),
        ({'a': A, 'b': A * 1e39}, "'b' has values too large for float32"),
    ],
)
def test_wrong_inputs(make_sum, inputs, words):
    """What does not fit is refused in words, before ONNX Runtime sees it."""
    with pytest.raises(ModelError, match=words):
        Session(make_sum()).run(inputs)


def test_finite_sum_may_overflow(make_sum):
    """Large values are not taken for infinities."""
    big = np.full((1, 1, 5, 8), 3e38, np.float32)
    assert (Session(make_sum()).run({'a': big, 'b': -big})['s'] == 0).all()


def test_failure_inside(make_skip, capfd):
    """What ONNX Runtime says comes in one line of the error, not on the terminal."""
    session = Session(make_skip(card=ModelCard('p', 'test', version='1', multiple=2)))
    assert session.run(IMAGE[..., :30])['y'].shape == (1, 1, 20, 30)
    words = r'p 1 failed for x \(1, 1, 20, 31\) \(sides must be multiples of 2\): \w'
    with pytest.raises(ModelError, match=words) as error:
        session.run(IMAGE)
    assert '\n' not in str(error.value)
    assert capfd.readouterr() == ('', '')


def test_no_memory(make_net, monkeypatch):
    """A lack of memory is called that."""
    session = Session(make_net())

    def run(*args):
        msg = '[ONNXRuntimeError] : 6 : X : Failed to allocate memory for 9 bytes'
        raise RuntimeError(msg)

    monkeypatch.setattr(session, '_session', SimpleNamespace(run=run))
    with pytest.raises(ModelError, match=r'not enough memory .* smaller tiles'):
        session.run(IMAGE)


@pytest.mark.parametrize('size', [0, 1, 10, 100, -1])
def test_damaged_file(make_net, size, capfd):
    """Cut files raise, without a word on the terminal."""
    with pytest.raises(ModelError, match='not an ONNX file, or truncated'):
        Session(make_net()[:size])
    assert capfd.readouterr() == ('', '')


def test_networks_of_text(make_net):
    """Networks that take no numbers are refused."""
    with pytest.raises(ModelError, match=r"'x' of type tensor\(string\), not an array"):
        Session(make_net((('Identity',),), dtype='str'))


def test_without_onnxruntime(monkeypatch):
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ImportError, match="pip install 'onnxruntime'"):
        load_onnxruntime()


def test_unknown_operation(make_net, capfd):
    """A file that needs more than ONNX Runtime has is refused."""
    with pytest.raises(ModelError, match='Nonsense'):
        Session(make_net((('Nonsense',),)))
    assert capfd.readouterr() == ('', '')


def test_errors_are_of_astroflat():
    """All errors can be caught as one."""
    assert issubclass(ModelError, (AstroflatError, ValueError))
    assert issubclass(DeviceError, (AstroflatError, RuntimeError))


def test_half_precision(make_net):
    """Networks of half precision take and give float32."""
    single, half = (Session(make_net(DEEP, dtype=d)) for d in ('float32', 'float16'))
    expected, found = single.run(IMAGE)['y'], half.run(IMAGE)['y']
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 5e-3 * np.abs(expected).max()
    assert np.abs(found - expected).max() > 0
    with pytest.raises(ModelError, match='too large for float16'):
        half.run(np.full_like(IMAGE, 7e4))


def test_bound_is_the_same(make_net):
    """Bound to the memory of a device, a network gives the same."""
    session = Session(make_net(DEEP))
    bound = _backend.run_bound(session._session, {'x': IMAGE}, ['y'], 'cpu')
    np.testing.assert_array_equal(bound[0], session.run(IMAGE)['y'])


def test_card_and_words(make_net):
    """A session knows its card, and says what a header should say."""
    card = ModelCard('tiny', 'denoise', version='3')
    data = make_net(card=card)
    session = Session(data, device='cpu', n_threads=1)
    assert session.card == card
    assert session.header_cards()['AFMODEL'][0] == 'tiny 3'
    assert session.header_cards()['AFPROV'][0] == 'CPUExecutionProvider'
    assert session.sha256.startswith(session.header_cards()['AFMODSHA'][0])
    assert repr(session) == '<Session tiny 3 on cpu, 1 threads>'
    assert Session(make_net()).card is None


# ------------------------------------------------------------------ devices
def test_wrong_arguments(make_net):
    """Devices and threads are checked."""
    with pytest.raises(ValueError, match="device='gpu'; use 'auto'"):
        Session(make_net(), device='gpu')
    with pytest.raises(ValueError, match='n_threads'):
        Session(make_net(), n_threads=0)


QUIET = """
import sys, warnings
warnings.simplefilter('error')
from astroflat.neural import Session, available_devices
print(Session(sys.stdin.buffer.read()).device, *available_devices())
"""


def test_quiet_without_gpu(make_net):
    """Where no GPU is shown, nothing is said and the processor computes."""
    done = subprocess.run(
        [sys.executable, '-c', QUIET],
        input=make_net(),
        env={**os.environ, 'CUDA_VISIBLE_DEVICES': ''},
        capture_output=True,
        check=True,
    )
    assert done.stdout.split() == [b'cpu', b'cpu']
    assert done.stderr == b''


@pytest.fixture
def state(monkeypatch):
    """Return a function that pretends something about the GPU."""
    monkeypatch.setattr(_backend, '_WARNED', set())

    def pretend(kind, reason):
        value = _devices.CudaState(kind, reason)
        monkeypatch.setattr(_backend, 'cuda_state', lambda: value)

    return pretend


def test_no_gpu(make_net, state):
    """'cuda' raises where there is no GPU, 'auto' and 'cpu' do not care."""
    state('absent', 'no GPU at all')
    with pytest.raises(DeviceError, match='no GPU at all; or use'):
        Session(make_net(), device='cuda')
    assert Session(make_net(), device='auto').device == 'cpu'
    assert Session(make_net(), device='cpu').device == 'cpu'


def test_broken_gpu(make_net, state):
    """A GPU that cannot be used is a warning, once, or an error."""
    state('broken', 'libfoo is missing')
    with pytest.raises(DeviceError, match='libfoo is missing'):
        Session(make_net(), device='cuda')
    with pytest.warns(ProviderFallbackWarning, match='libfoo') as record:
        Session(make_net())
    assert record[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert Session(make_net()).device == 'cpu'


def test_device_is_that_of_the_session(make_net, state):
    """Where CUDA is asked for and not given, the session says so."""
    if 'CUDAExecutionProvider' not in load_onnxruntime().get_available_providers():
        pytest.skip('this ONNX Runtime was built without CUDA')
    if _devices.gpu_count():
        pytest.skip('there is a GPU')
    state('usable', '')
    with pytest.raises(DeviceError, match='could not start CUDA'):
        Session(make_net(), device='cuda')
    with pytest.warns(ProviderFallbackWarning, match='could not start CUDA'):
        session = Session(make_net())
    assert (session.device, session.provider) == ('cpu', 'CPUExecutionProvider')


def test_failing_gpu(make_net, state, monkeypatch, capfd):
    """What ONNX Runtime prints about a GPU that fails is in the warning."""
    ort = load_onnxruntime()
    real = ort.InferenceSession

    def failing(data, options, providers):
        if len(providers) > 1:
            print('*** EP Error ***\nCUDA failure 35\nFalling back')
        return real(data, options, providers[-1:])

    state('usable', '')
    monkeypatch.setattr(ort, 'InferenceSession', failing)
    with pytest.warns(ProviderFallbackWarning, match='EP Error CUDA failure 35'):
        assert Session(make_net()).device == 'cpu'
    with pytest.raises(DeviceError, match='CUDA failure 35'):
        Session(make_net(), device='cuda')
    assert capfd.readouterr() == ('', '')


@pytest.fixture
def probe(monkeypatch):
    """Return a function that asks for the state of a pretended machine."""

    def ask(gpus, providers, printed=''):
        fake = SimpleNamespace(
            get_available_providers=lambda: providers,
            preload_dlls=lambda: print(printed),
        )
        monkeypatch.setattr(_devices, 'gpu_count', lambda: gpus)
        monkeypatch.setattr(runtime, 'load_onnxruntime', lambda: fake)
        return _devices.cuda_state.__wrapped__()

    return ask


def test_probe(probe, capsys):
    """The state of CUDA is found from the driver, the build and the libraries."""
    both = ['CUDAExecutionProvider', 'CPUExecutionProvider']
    assert probe(0, both).kind == 'absent'
    assert probe(1, both) == ('usable', '')
    built_without = probe(2, both[1:])
    assert built_without.kind == 'broken'
    assert 'has no CUDA' in built_without.reason
    text = 'Failed to load libcublas.so.13: no such file\nPlease follow https://x'
    lacking = probe(1, both, text)
    assert lacking.kind == 'broken'
    assert lacking.reason.startswith('libcublas.so.13 cannot be loaded')
    assert capsys.readouterr().out == ''


class Driver:
    """A driver with GPUs."""

    def __init__(self, status, count):
        self.status, self.count = status, count

    def cuInit(self, flags):  # noqa: D102, N802
        return self.status

    def cuDeviceGetCount(self, pointer):  # noqa: D102, N802
        pointer._obj.value = self.count
        return self.status


def test_driver(monkeypatch):
    """GPUs are counted by the driver; one that does not start has none."""
    for driver, count in ((None, 0), (Driver(0, 2), 2), (Driver(100, 2), 0)):
        monkeypatch.setattr(_devices, '_driver', lambda driver=driver: driver)
        assert _devices.gpu_count() == count


# ------------------------------------------------- one session for everyone
def test_made_once(make_net, tmp_path, clean_sessions):
    """The same content, device and threads give the same session."""
    data = make_net(card=ModelCard('a', 'test'))
    path = tmp_path / 'a.onnx'
    path.write_bytes(data)
    session = get_session(path)
    assert get_session(str(path)) is session
    assert get_session(data) is session
    assert get_session(find_model(path)) is session
    assert get_session(path, n_threads=session.n_threads) is session
    assert get_session(path, n_threads=session.n_threads + 1) is not session
    path.write_bytes(make_net(card=ModelCard('b', 'test')))
    assert get_session(path).card.name == 'b'


def test_few_are_kept(make_net, clean_sessions):
    """The least recently used session is forgotten first."""
    nets = [make_net(seed=i) for i in range(sessions._LIMIT + 1)]
    first, second = get_session(nets[0]), get_session(nets[1])
    for net in nets[2:-1]:
        get_session(net)
    assert get_session(nets[0]) is first
    get_session(nets[-1])
    assert get_session(nets[0]) is first
    assert get_session(nets[1]) is not second
    assert len(sessions._SESSIONS) == sessions._LIMIT


def in_threads(function, count=6):
    """Call a function in threads that start together."""
    results, barrier = [None] * count, threading.Barrier(count)

    def work(i):
        barrier.wait()
        results[i] = function(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_threads(make_net, clean_sessions):
    """Threads that start together get one session, and each its own numbers."""
    data = make_net(DEEP)
    images = RNG.standard_normal((6, 1, 1, 40, 30), dtype=np.float32)
    made = in_threads(lambda i: get_session(data))
    assert len(set(map(id, made))) == 1
    expected = [made[0].run(image)['y'] for image in images]

    def repeat(i):
        return [made[0].run(images[i])['y'] for _ in range(5)]

    for found, one in zip(in_threads(repeat), expected, strict=True):
        for again in found:
            np.testing.assert_array_equal(again, one)


def test_pickle(make_net):
    """A session travels to another process by its content."""
    session = Session(make_net(DEEP), n_threads=1)
    again = pickle.loads(pickle.dumps(session))
    assert (again.sha256, again.n_threads) == (session.sha256, 1)
    np.testing.assert_array_equal(again.run(IMAGE)['y'], session.run(IMAGE)['y'])


FORK = """
import os, sys
import numpy as np
from astroflat.neural import Session
session = Session(sys.stdin.buffer.read(), n_threads=2)
image = np.ones((1, 1, 300, 300), np.float32)
one = session.run(image)['y']
child = os.fork()
if child == 0:
    os._exit(7 if (session.run(image)['y'] == one).all() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_fork(make_net):
    """A forked process, whose threads are gone, does not hang."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', FORK],
        input=make_net(DEEP),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == b'7'


# ------------------------------------------------------------------- parity
def test_parity(make_net):
    """One thread and several agree; a difference is an error."""
    data = make_net(DEEP)
    assert check_parity(data, 'cpu') == {'y': pytest.approx(0, abs=1e-6)}
    with pytest.raises(DeviceError, match="other numbers on 'cpu'"):
        check_parity(data, 'cpu', tolerance=-1)


def test_parity_sees_differences(make_net, monkeypatch):
    """The difference is a fraction of the peak."""
    run = Session.run

    def perturbed(self, inputs):
        out = run(self, inputs)
        if self.n_threads == 2:
            out['y'] = out['y'] + 0.01 * np.abs(out['y']).max()
        return out

    monkeypatch.setenv('OMP_NUM_THREADS', '2')
    monkeypatch.setattr(Session, 'run', perturbed)
    data = make_net()
    found = check_parity(data, 'cpu', inputs={'x': IMAGE}, tolerance=None)
    assert found['y'] == pytest.approx(0.01, rel=1e-3)
    with pytest.raises(DeviceError, match=r'0\.01 of its peak'):
        check_parity(data, 'cpu')


def test_parity_takes_what_the_network_takes(make_sum, make_net):
    """The noise has the shape that the network asks for."""
    assert set(check_parity(make_sum(), 'cpu')) == {'s'}
    layers = (('AveragePool', 48), ('ConvTranspose', 1, 48))
    card = ModelCard('p', 'test', multiple=48)
    assert set(check_parity(make_net(layers, card=card), 'cpu')) == {'y'}


@pytest.mark.gpu
@pytest.mark.parametrize(('dtype', 'tolerance'), [('float32', 1e-4), ('float16', 1e-2)])
def test_parity_cuda(make_net, cuda, dtype, tolerance):
    """CUDA gives the numbers of the processor."""
    layers = (('Conv', 16, 3), ('Relu',), ('Conv', 16, 3), ('Relu',), ('Conv', 2, 3))
    data = make_net(layers, dtype=dtype)
    assert check_parity(data, 'cuda', tolerance=tolerance)['y'] <= tolerance


@pytest.mark.gpu
def test_cuda_is_really_used(make_net, cuda):
    """The session itself says CUDA, for 'auto' too, and repeats its numbers."""
    for device in ('cuda', 'auto'):
        session = Session(make_net(DEEP), device=device)
        assert (session.device, session.provider) == ('cuda', 'CUDAExecutionProvider')
        one = session.run(IMAGE)['y']
        np.testing.assert_array_equal(session.run(IMAGE)['y'], one)
