# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Small networks, written byte by byte: the tests of the runtime need no onnx.
"""

from __future__ import annotations

import numpy as np
import pytest

# Numbers of the fields and types in onnx.proto.
TYPES = {'float32': 1, 'int64': 7, 'str': 8, 'float16': 10}


def varint(value):
    """Encode an integer."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, value):
    """Encode a field: an integer, or a text, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(name, array):
    """Encode a TensorProto."""
    dims = b''.join(field(1, n) for n in array.shape)
    kind = field(2, TYPES[array.dtype.name])
    return dims + kind + field(8, name) + field(9, array.tobytes())


def value_info(name, axes, dtype):
    """Encode a ValueInfoProto."""
    dims = [field(1 if isinstance(n, int) else 2, n) for n in axes]
    shape = b''.join(field(1, dim) for dim in dims)
    kind = field(1, TYPES[dtype]) + field(2, shape)
    return field(1, name) + field(2, field(1, kind))


def node(kind, inputs, output, **ints):
    """Encode a NodeProto whose attributes are lists of integers."""
    out = b''.join(field(1, name) for name in inputs) + field(2, output)
    out += field(4, kind)
    for name, values in ints.items():
        attribute = field(1, name) + b''.join(field(8, v) for v in values)
        out += field(5, attribute + field(20, 7))
    return out


def model_bytes(nodes, inputs, outputs, weights, metadata):
    """Encode a ModelProto."""
    graph = b''.join(field(1, n) for n in nodes) + field(2, 'net')
    graph += b''.join(field(5, tensor(k, v)) for k, v in weights.items())
    graph += b''.join(field(11, value_info(*i)) for i in inputs)
    graph += b''.join(field(12, value_info(*o)) for o in outputs)
    out = field(1, 8) + field(7, graph) + field(8, field(1, '') + field(2, 17))
    for key, value in metadata.items():
        out += field(14, field(1, key) + field(2, value))
    return out


def chain(layers, *, channels, dtype, rng):
    """Return the nodes, the weights and the channels of a chain of layers."""
    nodes, weights, name = [], {}, 'x'

    def draw(*shape):
        values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        return values.astype(dtype)

    for i, (kind, *numbers) in enumerate(layers):
        inputs, options = [name], {}
        if kind == 'Conv':
            out, side = numbers
            weights[f'w{i}'] = draw(out, channels, side, side)
            inputs, channels = [name, f'w{i}'], out
            options = {'pads': 4 * [side // 2]}
        elif kind == 'ConvTranspose':
            out, side = numbers
            weights[f'w{i}'] = draw(channels, out, side, side)
            inputs, channels = [name, f'w{i}'], out
            options = {'strides': [side, side]}
        elif kind == 'AveragePool':
            options = {'kernel_shape': 2 * numbers, 'strides': 2 * numbers}
        name = f'y{i}' if i + 1 < len(layers) else 'y'
        nodes.append(node(kind, inputs, name, **options))
    return nodes, weights, channels


def build(layers=(('Conv', 1, 3),), *, channels=1, dtype='float32', card=None, seed=0):
    """
    Return the bytes of a network ``x -> y`` of layers in a chain.

    Layers are ('Conv', channels, side), ('ConvTranspose', channels, side),
    ('AveragePool', side), ('Relu',), ('GlobalAveragePool',), ('Identity',).
    """
    rng = np.random.default_rng(seed)
    nodes, weights, out = chain(layers, channels=channels, dtype=dtype, rng=rng)
    x = ('x', ['batch', channels, 'rows', 'columns'], dtype)
    y = ('y', ['batch', out, 'r', 'c'], dtype)
    metadata = {'producer': 'tests'}
    if card is not None:
        metadata['astroflat'] = card if isinstance(card, str) else card.to_json()
    return model_bytes(nodes, [x], [y], weights, metadata)


def build_sum(*, fixed=8):
    """Return the bytes of a network ``(a, b) -> s`` of two inputs."""
    axes = ['batch', 1, 'rows', fixed]
    slots = [(name, axes, 'float32') for name in ('a', 'b', 's')]
    nodes = [node('Add', ['a', 'b'], 's')]
    return model_bytes(nodes, slots[:2], slots[2:], {}, {})


def build_skip(*, card=None):
    """Return the bytes of a network that needs even sides, like a U-Net."""
    slots = [(name, ['batch', 1, 'rows', 'columns'], 'float32') for name in 'xy']
    nodes = [
        node('AveragePool', ['x'], 'small', kernel_shape=[2, 2], strides=[2, 2]),
        node('ConvTranspose', ['small', 'w'], 'large', strides=[2, 2]),
        node('Add', ['x', 'large'], 'y'),
    ]
    weights = {'w': np.ones((1, 1, 2, 2), np.float32)}
    metadata = {} if card is None else {'astroflat': card.to_json()}
    return model_bytes(nodes, slots[:1], slots[1:], weights, metadata)


@pytest.fixture
def make_skip():
    """Return the function that makes a network with a skip connection."""
    return build_skip


@pytest.fixture
def make_net():
    """Return the function that makes a network."""
    return build


@pytest.fixture
def make_sum():
    """Return the function that makes a network of two inputs."""
    return build_sum


@pytest.fixture
def clean_sessions():
    """Forget the sessions before and after a test."""
    from astroflat.neural import clear_sessions

    clear_sessions()
    yield
    clear_sessions()


@pytest.fixture
def cuda():
    """Skip where there is no GPU that works."""
    from astroflat.neural import available_devices

    if 'cuda' not in available_devices():
        pytest.skip('needs an NVIDIA GPU that the ONNX Runtime can use')
