"""Harmless stand-ins for SafeEraser's harmful pictures: coloured motifs, made-up code words, everyday twins."""
