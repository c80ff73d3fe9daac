"""Avatar faces, drawn for the mini editions of every modality. The people do not exist.

`persons` fixes what stays with a person, `looks` what one picture varies, `drawing` draws, `jpeg` encodes.
"""
