"""Devices this machine does not have, made of software: an Arm processor and a GPU."""
