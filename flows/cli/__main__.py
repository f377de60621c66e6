"""`python -m flows.cli …` is `pop …`."""

from flows.cli import main

main()
