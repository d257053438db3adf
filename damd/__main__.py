"""``python -m damd``."""

from damd.cli import main

if __name__ == "__main__":
    main()
