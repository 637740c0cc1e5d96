# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Ways to damage a file: blindly, and where its format is most easily hurt."""

from __future__ import annotations

import gzip
import json
import re
import struct
import zlib

import numpy as np

__all__ = ['mutate']

EXTREMES = [0, 1, 2, 3, 7, 8, 16, 100, 255, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1]
HUGE = [2**40, 2**53, 2**63 - 1, 2**63, 2**64 - 1]
WORDS = [
    '', '0', '-1', '1', '3', '-32', '64', '16', '999', '65536', '99999999999',
    '9' * 30, '9' * 5000, '1E300', '1E-320', '1e999', 'NaN', 'inf', '-inf', 'T', 'F',
    "'x'", "''", "'", '/', 'None', 'adu', 'm/', ')(', 'a' * 300, '\u00e9', '%s', '1:1',
    '99999:99999:1', '1:1:1:1', '0:0:0', '-5:7:1', '4096:1', 'attachment:0:0',
    'attachment:16:9999999999', 'inline:base64', 'inline:hex', 'embedded', 'zlib:9:2',
    'zlib+sh:1:0', 'zlib:99999999999', 'lz4:100', 'zstd:10', 'sha-1:0', 'Float32',
    'Complex64', 'UInt64', 'big', 'Normal', 'RGB', 'GZIP_2', 'RICE_1', 'HCOMPRESS_1',
    'PLIO_1', 'RA---TAN-SIP', 'StdDevUncertainty', '1/0', '10**99999 Jy', '2020-13-45',
]  # fmt: skip
JSON_VALUES = [
    None, True, False, 0, -1, 1.5, 1e308, 10**400, '', 'x', 'x' * 200, [], [[]], {},
    [1, 'a', None], {'a': {'b': []}}, [None] * 50, float('nan'), float('inf'), '\ud800',
]  # fmt: skip


def pick(rng, values):
    """Return one of some values, as it is."""
    return values[int(rng.integers(len(values)))]


def place(rng, size):
    """Return a position, every other time near the beginning."""
    limit = min(size, 600) if rng.random() < 0.6 else size
    return int(rng.integers(max(1, limit)))


def truncate(rng, data):
    """Cut the end off."""
    return data[: place(rng, len(data) + 1)]


def flip(rng, data):
    """Turn one to eight bits over."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 9)) if out else 0):
        out[place(rng, len(out))] ^= 1 << int(rng.integers(8))
    return bytes(out)


def number(rng, data):
    """Put an extreme number somewhere."""
    size = pick(rng, [1, 2, 4, 8])
    order = pick(rng, ['little', 'big'])
    value = pick(rng, EXTREMES + HUGE) % 256**size
    at = place(rng, len(data))
    return data[:at] + value.to_bytes(size, order) + data[at + size :]


def wipe(rng, data):
    """Overwrite a stretch with one byte."""
    at, n = place(rng, len(data)), int(rng.integers(1, 400))
    n = min(n, len(data) - at)
    return data[:at] + bytes([pick(rng, [0, 32, 127, 255])]) * n + data[at + n :]


def splice(rng, data):
    """Remove, double or move a stretch."""
    at, n = place(rng, len(data)), int(rng.integers(1, 200))
    chunk, to = data[at : at + n], place(rng, len(data))
    rest = data[:at] + data[at + n :] if rng.random() < 0.5 else data
    return rest if rng.random() < 0.3 else rest[:to] + chunk + rest[to:]


def trivial(rng, data):
    """Leave next to nothing."""
    return pick(rng, [b'', b'\0', data[:1], data[:16], bytes(len(data)), data + data])


def ser_field(rng, data):
    """Replace numbers of a SER header."""
    out = bytearray(data.ljust(178, b'\0'))
    for _ in range(int(rng.integers(1, 4))):
        at = 14 + 4 * int(rng.integers(7))
        value = pick(rng, [*EXTREMES, -1, -(2**31), 5, 9, 10, 101]) % 2**32
        struct.pack_into('<I', out, at, value)
    return bytes(out)


def fits_card(rng, data):
    """Replace the value of a card, or the whole card."""
    packed = data[:2] == b'\x1f\x8b'
    if packed:
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            return data
    starts = [
        i for i in range(0, min(len(data), 14400), 80) if data[i + 8 : i + 9] == b'='
    ]
    if starts:
        at, key = pick(rng, starts), pick(rng, ['BUNIT', 'NAXIS3', 'BLANK', 'CTYPE3'])
        name = data[at : at + 8] if rng.random() < 0.8 else key.ljust(8).encode()
        word = pick(rng, WORDS)
        value = f'{word:>20s}' if rng.random() < 0.6 else f"'{word:8s}'"
        card = (name + b'= ' + value.encode('latin-1', 'replace'))[:80].ljust(80)
        data = data[:at] + card + data[at + 80 :]
    return gzip.compress(data, 1, mtime=0) if packed else data


def tiff_entry(rng, data):
    """Replace a field of an entry of the first directory of a classic TIFF file."""
    order = '<' if data[:2] == b'II' else '>'
    if len(data) < 8 or struct.unpack_from(order + 'H', data, 2)[0] != 42:
        return number(rng, data)
    (at,) = struct.unpack_from(order + 'I', data, 4)
    if at + 2 > len(data):
        return flip(rng, data)
    (n,) = struct.unpack_from(order + 'H', data, at)
    entry = at + 2 + 12 * int(rng.integers(max(1, min(n, 60))))
    if entry + 12 > len(data):
        return flip(rng, data)
    out = bytearray(data)
    offset, size = pick(rng, [(0, 'H'), (2, 'H'), (4, 'I'), (8, 'I'), (8, 'H')])
    value = pick(rng, EXTREMES if size == 'I' else EXTREMES[:11])
    struct.pack_into(order + size, out, entry + offset, value)
    return bytes(out)


def png_chunk(rng, data):
    """Replace something in a chunk and make its checksum right again."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (n,) = struct.unpack_from('>I', data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + n]))
        at += 12 + n
    if not chunks:
        return flip(rng, data)
    i = 0 if rng.random() < 0.5 else int(rng.integers(len(chunks)))
    kind, body = chunks[i]
    if kind == b'IDAT' and rng.random() < 0.5:
        body = zlib.compress(bytes(int(rng.integers(4000))), 1)
    else:
        body = pick(rng, [flip, number, truncate, wipe])(rng, body)
    chunks[i] = (pick(rng, [kind, kind, kind, b'tEXt', b'PLTE', b'tRNS']), body)
    out = data[:8]
    for kind, body in chunks:
        crc = struct.pack('>I', zlib.crc32(kind + body))
        out += struct.pack('>I', len(body)) + kind + body + crc
    return out


def attribute(rng, data):
    """Replace an attribute or some text of an XML header, and its length."""
    (length,) = struct.unpack_from('<I', data.ljust(16, b'\0'), 8)
    length = min(length, len(data))
    header = data[16 : 16 + length].rstrip(b'\0')
    found = list(re.finditer(rb'="([^"]*)"', header))
    if not found:
        return flip(rng, data)
    spot = pick(rng, found)
    word = pick(rng, WORDS).encode()
    new = header[: spot.start(1)] + word + header[spot.end(1) :]
    if rng.random() < 0.1:
        new = new.replace(b'<Image', b'<a>' * 3000 + b'<Image', 1)
    if len(new) <= length:
        return data[:16] + new.ljust(length, b'\0') + data[16 + length :]
    return (
        data[:8] + struct.pack('<I', len(new)) + data[12:16] + new + data[16 + length :]
    )


def _paths(value, path=()):
    """Yield the paths of all values inside a JSON document."""
    yield path
    pairs = value.items() if isinstance(value, dict) else []
    pairs = enumerate(value) if isinstance(value, list) else pairs
    for key, item in pairs:
        yield from _paths(item, (*path, key))


def json_text(rng, text):
    """Damage a JSON document: a value of another kind, another key, depth, bits."""
    if rng.random() < 0.1:
        deep = pick(rng, ['[', '{"a":']) * 5000
        return pick(rng, [deep, text[:-1] + ', "name": ' + deep, '1' * 9000])
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text[::-1]
    path = pick(rng, list(_paths(document)))
    if not path:
        return json.dumps(pick(rng, JSON_VALUES))
    where = document
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = pick(rng, JSON_VALUES)
    if rng.random() < 0.2 and isinstance(document, dict):
        document[pick(rng, ['new', 'format', 'extra', 'self'])] = pick(rng, JSON_VALUES)
    return json.dumps(document)


def json_field(rng, data):
    """Damage the JSON document inside a file, whatever holds it."""
    start = data.find(b'{"format"')
    depth, end = 0, start
    while start >= 0 and end < len(data):
        depth += {123: 1, 125: -1}.get(data[end], 0)
        end += 1
        if not depth:
            break
    if start < 0 or depth:
        return flip(rng, data)
    old = data[start:end].decode('latin-1')
    new = json_text(rng, old).encode('utf-8', 'surrogatepass')
    if rng.random() < 0.7 and len(new) < len(old):
        # Of the same length, so that what is around it stays right.
        new = new.ljust(len(old))
    return data[:start] + new + data[end:]


def varint(value):
    """Encode an integer as protobuf does."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def network_card(rng, data):
    """Give a network another card; the last of two counts."""
    old = '{"name": "tiny", "task": "denoise", "multiple": 1, "extra": {"a": [1]}}'
    text = json_text(rng, old).encode('utf-8', 'surrogatepass')
    pair = b'\x0a\x09astroflat\x12' + varint(len(text)) + text
    return data + b'\x72' + varint(len(pair)) + pair


BLIND = [truncate, flip, flip, number, wipe, splice, trivial]
AIMED = {
    'ser': [ser_field],
    'fits': [fits_card],
    'tiff': [tiff_entry, tiff_entry, json_field],
    'png': [png_chunk, png_chunk, json_field],
    'xisf': [attribute],
    'onnx': [network_card],
}


def mutate(rng, kind, data):
    """
    Damage a file.

    Parameters
    ----------
    rng : `~numpy.random.Generator`
        The same one damages the same file in the same way.

    kind : str
        The format.

    data : bytes
        The sound file.

    Returns
    -------
    data : bytes
        The file after one to three kinds of damage; 1 in 50 is left alone.
    """
    if rng.random() < 0.02:
        return data
    if kind == 'card':
        text = json_text(rng, data.decode())
        return text.encode('utf-8', 'surrogatepass')
    for _ in range(int(np.clip(rng.geometric(0.7), 1, 3))):
        aimed = rng.random() < 0.55
        data = pick(rng, AIMED[kind] if aimed else BLIND)(rng, data)
    return data
