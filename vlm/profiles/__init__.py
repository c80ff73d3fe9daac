"""People who do not exist, with private facts: the mini editions that ask about a person's picture.

`facts` draws what is true of a person, `wording` says how it is asked and answered, `questions` makes the items of one
person, and the writers put them into the files of a benchmark.
"""
