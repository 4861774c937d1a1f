"""What was found, for machines and for people: JSON, terminal, one HTML page."""
