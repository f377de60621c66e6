"""Speed and memory, as ratios in one run: never timed inside a test."""
