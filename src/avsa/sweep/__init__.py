"""Searches for better configurations with Optuna, on one machine or many. Optuna is imported only here, when used.

A search has three studies on one storage: the search itself, random search at the same budget, and the finalists on
unseen seeds. Every process that serves a study (`avsa.sweep.search`) runs its trials in processes of their own, each in
a folder of its own; what they share is the storage.
"""
