"""Models on disk: from a name to weights and an identity, which of a run's models stands, and the gate that decides."""
