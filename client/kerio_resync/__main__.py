"""`python -m kerio_resync` is `kerio-resync`."""

from kerio_resync.quick import main

if __name__ == "__main__":
    main()
