"""``python -m kbootstrap``: the same as the command ``kbootstrap``."""

from kbootstrap.cli import main

if __name__ == "__main__":
    main()
