"""Tests of `tasks/cluster` and what stands on it."""
