"""The motion set: short flat videos of things that move in one of a few ways, laid out as UCF-101 and HMDB-51 are.

It is to action recognition what synth360 is to pre-training: it has that set's things and places, and it runs where
nothing can be downloaded. Actions differ by motion alone: which thing moves, its colours, its size, its place in the
picture and what lies behind it are drawn alike for all, so that a single frame says nothing about the class.

`gestures` says how things move, `film` draws a video, `layouts` names the files and the splits, `dataset` writes them.
"""

from avsa.acquire.motion.dataset import render_motion

__all__ = ["render_motion"]
