"""Metrics of image classifiers."""
