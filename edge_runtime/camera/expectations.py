"""What is asked of every camera: a size, and a sign of life."""

SIZE = (640, 480)
"""Width and height: every camera has it, few networks need more, and little is left to scale down."""

SILENCE_S = 10.0
"""A camera that sends nothing for so long counts as broken."""
