"""The picture of a network that `irv2-convert describe` draws."""
