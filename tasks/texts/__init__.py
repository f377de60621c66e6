"""Questions about texts that need no model: words, sentences, overlaps, near-duplicates."""
