"""How every stage works: its plan and fingerprint, resuming, reusing another round's rows, publishing its own."""
