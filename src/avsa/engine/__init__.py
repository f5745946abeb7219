"""The training loop and what it stands on. It knows no concrete task and no tracker: :mod:`avsa.engine.protocols`."""
