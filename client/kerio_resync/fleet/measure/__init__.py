"""Measures a server's capacity with real clients.

They run on this machine, or on a Dask cluster.

`run.py` is the measurement, `step.py` one step of it with a number of clients at once. `crew.py` has the client
processes of one machine, `client_process.py` is such a process, and `cluster.py` places crews on Dask workers.
"""
