"""What earlier conversions left for later ones: the float network, what was fitted to it, its answers."""
