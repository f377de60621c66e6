"""A Prefect server of one's own with the project's deployments: what `make server` and `make deploy` run."""
