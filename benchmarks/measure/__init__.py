"""The measurements: each module has `measure`, `report` and perhaps `picture`."""
