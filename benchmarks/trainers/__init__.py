"""Scripts of `benchmarks.trainer` for the runtime environment, and for one with TRL; run by path."""
