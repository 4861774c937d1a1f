"""Models without a card."""
