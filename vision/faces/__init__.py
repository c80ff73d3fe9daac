"""Avatar faces: the mini editions of MUFAC and MUCAC, written in the layouts of the real data.

The people do not exist. `persons` fixes what stays with a person, `looks` what one picture varies, `avatars` draws,
`mufac_writer` and `mucac_writer` write the folders, tables and `mini.json` (the truth behind them).
"""
