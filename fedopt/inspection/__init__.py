"""What a file holds: any document or record that fedopt reads or writes, in words and a small picture."""

from fedopt.inspection.looking import inspect

__all__ = ["inspect"]
