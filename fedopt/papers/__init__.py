"""The papers' figures and tables, computed again: one module per paper with a function `figures`."""
