"""``python -m benchmarks corrupted``, ``loader``, ``segment``, ``step``, ``store``, ``sweep`` or ``tracking``."""

import argparse
from importlib import import_module

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure and write a figure.")
    parser.add_argument("name", choices=["corrupted", "loader", "segment", "step", "store", "sweep", "tracking"])
    # Only what is measured is imported: a machine with a GPU may lack the decoder.
    import_module(f"benchmarks.{parser.parse_args().name}").main()
