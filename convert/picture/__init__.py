"""A picture of the network, and a table of its stages."""
