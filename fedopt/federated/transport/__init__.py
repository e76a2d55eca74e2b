"""How messages travel between the broker and the operators: in process, between processes, over HTTPS."""
