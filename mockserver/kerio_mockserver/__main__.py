"""`python -m kerio_mockserver`."""

from __future__ import annotations

from kerio_mockserver.entry import main

if __name__ == "__main__":
    main()
