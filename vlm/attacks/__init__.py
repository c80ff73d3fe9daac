"""Attacks on vision-language models; one file each, named like the attack."""
