"""What the runs of a table say: records, differences and verdicts beside the published numbers."""
