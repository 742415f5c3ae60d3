"""JMAP for mail (RFC 8620, RFC 8621): the second implementation of the mailbox."""
