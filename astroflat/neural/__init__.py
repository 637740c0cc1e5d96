# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Inference with ONNX Runtime, on CUDA or the CPU."""

from astroflat.neural.runtime import available_devices, load_onnxruntime

__all__ = ['available_devices', 'load_onnxruntime']
