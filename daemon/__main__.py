"""`python -m daemon` is `signaged`."""

from daemon.cli import main

if __name__ == "__main__":
    main()
