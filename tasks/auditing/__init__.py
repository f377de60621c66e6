"""Looking at a finished round: the audits, what they compare it with, and its preference data as a dataset."""
