"""`python -m compiler` is `edgec`."""

from .cli import main

main()
