"""Layouts of existing data sets: one file each, which finds the recordings in a folder laid out so.

A layout is a :class:`~avsa.clips.sources.layout.Layout`; `avsa.clips.recordings.LAYOUTS` lists them all.
"""
