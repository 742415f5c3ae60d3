"""The report page of a run: what is recorded, its charts, and the HTML."""
