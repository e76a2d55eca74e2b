"""Bounds on delay: one file per form or guarantee, in slots."""
