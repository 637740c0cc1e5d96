# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Take advice on dust
===================

A model that has seen many pictures knows what dust looks like, and what a sunspot
looks like. `astroflat.genai` asks Gemini where the dust is, and does everything else
here. This example shows what would be sent, and what becomes of an answer, **without
the service**: a small server on this machine gives a canned one. For the real service
set ``GEMINI_API_KEY`` and leave ``base_url`` out.
"""

# %%
# A stack with dust, and what would leave the machine
# ---------------------------------------------------
# The median of a video of the Sun: the dust stays, the granulation does not.
import io
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import matplotlib.pyplot as plt
import numpy as np

import astroflat as af
from astroflat.degradation import simulate_video
from astroflat.genai import AdviserLimits, GeminiDetector, GeminiRefusedError

shape = (200, 300)
y, x = np.mgrid[:200, :300]
truth = np.ones(shape)
for cy, cx, radius, depth in [
    (50, 70, 6, 0.2),
    (120, 210, 11, 0.08),
    (155, 80, 4, 0.4),
]:
    truth[np.hypot(y - cy, x - cx) < radius] = 1 - depth
video = simulate_video(
    60, shape, flat=truth, kind='granulation', drift=30, pattern='random', rng=1
)
median = af.median_flat(video.array(), bias=np.full(shape, video.camera.bias))

request = GeminiDetector().dry_run(median)
print(request.model, '-', len(request.images), 'image,', len(request.body()), 'bytes')
print(request.prompt)

# %%
# The picture in the request: 8 bits, without vignetting, with raised contrast. No
# header, no coordinates, no file name.
fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout='constrained')
axes[0].imshow(median.data, cmap='gray')
axes[0].set_title('the median')
axes[1].imshow(plt.imread(io.BytesIO(request.images[0])), cmap='gray')
axes[1].set_title('what would be sent')
for ax in axes:
    ax.set_axis_off()


# %%
# A canned answer
# ---------------
# Coordinates are thousandths of the frame, y before x. One of the four objects is a
# guess of low confidence.
class Canned(BaseHTTPRequestHandler):
    """Answers every question with what ``objects`` holds."""

    objects = ()

    def do_POST(self):
        self.rfile.read(int(self.headers['Content-Length']))
        text = json.dumps({'objects': self.objects})
        parts = [{'text': text}]
        answer = {
            'candidates': [{'content': {'parts': parts}, 'finishReason': 'STOP'}],
            'modelVersion': 'canned',
            'responseId': 'example',
        }
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


Canned.objects = [
    {'kind': 'disc', 'box_2d': [218, 212, 284, 256], 'confidence': 0.95},
    {'kind': 'disc', 'box_2d': [545, 662, 660, 740], 'confidence': 0.9},
    {'kind': 'speck', 'box_2d': [755, 252, 800, 282], 'confidence': 0.9},
    {'kind': 'speck', 'box_2d': [300, 800, 360, 840], 'confidence': 0.2},
]
server = HTTPServer(('127.0.0.1', 0), Canned)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f'http://127.0.0.1:{server.server_address[1]}'
os.environ.setdefault('GEMINI_API_KEY', 'not-a-key')

# %%
# It goes where the classical detector would go: into `astroflat.detect_dust`, or into
# the whole chain. Outlines are drawn at full resolution, measured, and checked.
gemini = GeminiDetector(base_url=url, cache=False)
detection = af.detect_dust(median, detector=gemini)
print(detection.catalogue['x', 'y', 'radius', 'depth', 'probability'])
print(detection.provenance['model'], detection.provenance['response'])

options = af.pipelines.DustFlatOptions(detector=gemini)
solution = af.dust_flat(median, options=options)
print(solution.report)

fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout='constrained')
axes[0].imshow(median.data, cmap='gray')
axes[0].contour(detection.mask, [0.5], colors='tab:red', linewidths=1)
axes[0].set_title('the mask that was drawn')
axes[1].imshow(solution.flat.data, cmap='gray', vmin=0.8, vmax=1.05)
axes[1].set_title('the flat: exactly 1 off the dust')
for ax in axes:
    ax.set_axis_off()

# %%
# An answer that cannot be
# ------------------------
# A mask of half the frame is not dust. It is refused with the reason; with
# ``on_error='offline'`` the classical detector would have taken over, with a warning.
Canned.objects = [{'kind': 'fibre', 'box_2d': [0, 0, 1000, 500], 'confidence': 1}]
strict = GeminiDetector(
    base_url=url, cache=False, limits=AdviserLimits(mask_percent=10)
)
try:
    af.detect_dust(median, detector=strict)
except GeminiRefusedError as error:
    print(error)

server.shutdown()
server.server_close()
