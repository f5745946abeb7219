"""``python -m benchmarks NAME``: measures, and writes a figure or several."""

import argparse
from importlib import import_module

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure and write a figure.")
    parser.add_argument(
        "name", choices=["corrupted", "ingest", "large", "loader", "segment", "step", "store", "sweep", "tracking"]
    )
    # Only what is measured is imported: a machine with a GPU may lack the decoder.
    import_module(f"benchmarks.{parser.parse_args().name}").main()
