"""What crosses the boundary between the broker and an operator, and how sums are masked."""
