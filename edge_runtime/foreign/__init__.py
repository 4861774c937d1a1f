"""Models without a card: what their file says of itself, what has to be asked, and an engine that evens it out."""
