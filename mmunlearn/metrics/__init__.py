"""Metrics: pure functions of rows; one file each, named like the metric."""
