"""What a file holds: any document or record that fedopt reads or writes, in words and a small picture."""

from fedopt.inspecting.looking import inspect

__all__ = ["inspect"]
