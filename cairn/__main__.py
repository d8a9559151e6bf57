"""`python -m cairn`: the same as the command `cairn`."""

from cairn.cli import cairn

if __name__ == "__main__":
    cairn(prog_name="cairn")
