"""Brands: the published list and its CSV of prompts, our own templates, and drawn brands for the mini edition."""
