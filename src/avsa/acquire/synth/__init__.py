"""synth360: seeded scenes of things that sound and move in step, rendered to ordinary media files.

Everything is known about a scene (classes, tracks, levels), so it serves as the demonstration and as the end-to-end
oracle. `scene` says what there is, `things` and `places` how it looks and sounds, `picture` and `soundfield` render
it, `dataset` writes it.
"""

from avsa.acquire.synth.dataset import render_dataset

__all__ = ["render_dataset"]
