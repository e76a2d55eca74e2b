"""RADE: learn from accept/reject feedback what domains take, and decompose SLAs accordingly."""
