"""A JMAP server in memory, with choices unlike Cyrus's.

`choices` says what it chooses where RFC 8620 leaves a choice, `store` has the mail, `methods` answers method calls,
`server` answers HTTP requests, `serving` puts it behind two sockets, and `direct` behind a transport without sockets,
for virtual time.
"""
