"""`python -m convert` is `irv2-convert`."""

from convert.cli.entry import convert

convert()
