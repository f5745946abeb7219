"""Verbs of the command line by subject; :mod:`avsa.cli` joins them."""
