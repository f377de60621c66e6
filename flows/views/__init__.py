"""What a person is shown of a run: on a terminal, on the Prefect UI's pages, in the report."""
