"""Say what a file holds, in words and a small picture."""
