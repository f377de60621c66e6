"""Does it learn what it is told? A judge that is right by rule, all else real; and controls that know nothing."""

from flows.settings import apply

apply(quiet=True)  # before Prefect is imported
