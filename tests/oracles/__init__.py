"""Plain, slow, obviously right formulas and simulations; they share no code with what they test."""
