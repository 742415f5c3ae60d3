"""The upgrade procedure: what a start of the mail program has to do about the database, and doing it.

`decide` says which step is next, `look` what the file is, `procedure` takes the step, `migrate` carries an old database
over, `gate` lets the mail program start only then, `estimate` says beforehand how long it will take.
"""
