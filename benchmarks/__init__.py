"""Measured figures: ``python -m benchmarks loader`` and ``step`` write ``benchmarks/<name>.json``."""
