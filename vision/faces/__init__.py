"""The mini editions of MUFAC and MUCAC: avatar faces (`mmunlearn.avatars`) in the layouts of the real data.

`mufac_writer` and `mucac_writer` write the folders, tables and `mini.json` (the truth behind them).
"""
