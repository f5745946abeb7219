"""``python -m avsa``, which is also what torchrun starts."""

from avsa.cli import main

main()
