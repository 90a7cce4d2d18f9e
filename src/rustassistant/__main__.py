"""``python -m rustassistant`` is the ``rustassistant`` command."""

from rustassistant.cli import main

if __name__ == "__main__":
    main()
