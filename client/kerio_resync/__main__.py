"""`python -m kerio_resync` is `kerio-resync`."""

from kerio_resync.cli.entry import main

if __name__ == "__main__":
    main()
