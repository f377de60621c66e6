"""Where a run lives: Parquet files with provenance, manifests, the lock of its one writer, and DuckDB over them."""
