"""Footballers who do not exist and rumours about their transfers: the mini edition of OFFSIDE.

`facts` draws what is true (or rumoured) of a player, `wording` says how it is asked and answered, `pictures` draws
player, club badge and rumour text, and `offside_writer` puts all of it into the files of the benchmark.
"""
