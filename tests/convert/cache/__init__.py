"""What is kept, under which key, and what becomes of damaged entries."""
