"""`python -m fedopt` is the command line."""

from fedopt.cli import main

if __name__ == "__main__":
    main()
