"""Concepts to forget: their cards, the questions asked about them, and the pictures of the mini edition."""
