"""Kills at random moments, and proof that nothing was lost, doubled or changed."""
