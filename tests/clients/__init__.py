"""The artifacts in the programs of others."""
