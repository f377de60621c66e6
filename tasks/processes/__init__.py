"""Starting and ending the heavy processes, so that none outlives who started it."""
