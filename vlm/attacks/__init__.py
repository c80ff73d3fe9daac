"""Attacks on vision-language models: can what was forgotten be got out again, and with how much effort?"""
