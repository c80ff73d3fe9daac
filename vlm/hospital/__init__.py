"""Hospitals that do not exist: institutions, patients, studies and report sections, the mini edition of MedForget.

`records` draws the tree and what is true at each node, `items` makes questions of it, `radiograph` draws the pictures
and `medforget_writer` writes the benchmark's files.
"""
