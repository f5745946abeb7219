"""``python -m benchmarks loader`` or ``step``."""

import argparse

from benchmarks import loader, step

MEASUREMENTS = {"loader": loader.main, "step": step.main}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure and write a figure.")
    parser.add_argument("name", choices=list(MEASUREMENTS))
    MEASUREMENTS[parser.parse_args().name]()
