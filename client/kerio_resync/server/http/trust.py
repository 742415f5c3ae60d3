"""TLS: the trusted certificates, the client's own, and advice for each failure.

If a `ca_file` is given, it is the only trust. A `fingerprint` is compared in every handshake, before a byte is sent.
There is no connection without one of these checks.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from kerio_resync.errors import BadSettings

_KEY = re.compile(rb"-----BEGIN ([A-Z]+ )*PRIVATE KEY-----")


class FingerprintMismatch(ssl.SSLCertVerificationError):
    """The server's certificate has another fingerprint.

    `found`: its SHA-256 in hexadecimal.
    """

    def __init__(self, found: str) -> None:
        super().__init__(1, "fingerprint mismatch")
        self.found = found


class EncryptedKeyError(Exception):
    """The private key is encrypted."""


def with_colons(digits: str) -> str:
    """Format a fingerprint as certificate viewers do."""
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2)).upper()


def tls_context(ca_file: Path | None, client_cert: Path | None = None, fingerprint: str = "") -> ssl.SSLContext:
    """Return the TLS context for the server. BadSettings if a file cannot be used."""
    if ca_file is None and fingerprint:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    else:
        context = _verifying(ca_file)
    if fingerprint:
        context.sslobject_class = _pinned(fingerprint)
    if client_cert is not None:
        _load_client_cert(context, client_cert)
    return context


def _verifying(ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise BadSettings(f"ca_file {ca_file} cannot be used: {reason_of(error)}") from error
    if ca_file is not None:
        if not context.cert_store_stats()["x509"]:
            raise BadSettings(f"ca_file {ca_file} holds no certificate")
        # The file may name the server's own certificate or an intermediate authority.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # CPython 3.13 sets this flag. It refuses the certificates of many private authorities (without a key identifier)
    # that browsers, curl and older versions of Python accept.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _pinned(fingerprint: str) -> type[ssl.SSLObject]:
    class Pinned(ssl.SSLObject):
        """Fails the handshake on another certificate, before anything is sent."""

        def do_handshake(self) -> None:
            super().do_handshake()
            found = hashlib.sha256(self.getpeercert(binary_form=True) or b"").hexdigest()
            if found != fingerprint:
                raise FingerprintMismatch(found)

    return Pinned


def _load_client_cert(context: ssl.SSLContext, file: Path) -> None:
    """Load the client's certificate, and its key from the same or another file."""

    def refuse_password() -> str:
        raise EncryptedKeyError

    try:
        text = file.read_bytes()
        if b"-----BEGIN" not in text:
            raise BadSettings(
                f"client_cert {file} is not PEM; convert it with `openssl pkcs12 -in FILE -out client.pem -nodes`"
            )
        key = None if _KEY.search(text) else next(_beside(file), None)
        if key is None and not _KEY.search(text):
            raise BadSettings(
                f"client_cert {file} holds no private key; add it to the file, or put it beside it as"
                f" {file.with_suffix('.key').name}"
            )
        context.load_cert_chain(file, key, refuse_password)
    except EncryptedKeyError:
        raise BadSettings(
            f"the private key of client_cert {file} is encrypted; remove its password with `openssl pkey -in KEY -out"
            " NEW`, and make the file readable only for yourself"
        ) from None
    except ssl.SSLError as error:
        why = "the key belongs to another certificate" if "MISMATCH" in (error.reason or "") else reason_of(error)
        raise BadSettings(f"client_cert {file} cannot be used: {why}") from error
    except OSError as error:
        raise BadSettings(f"client_cert {file} cannot be read: {reason_of(error)}") from error


def _beside(file: Path) -> Iterator[Path]:
    paths = (file.with_suffix(".key"), file.with_name(f"{file.name}.key"), file.with_name(f"{file.stem}-key.pem"))
    return (path for path in paths if path != file and path.is_file())


def tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """Return the TLS failure behind an exception, or None."""
    for _ in range(8):
        # aiohttp's own classes may inherit from SSLError; the original error is inside.
        inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
        if inner is None and (error is None or isinstance(error, ssl.SSLError)):
            return error
        error = inner or (error and (error.__cause__ or error.__context__))
    return None


def untrusted(error: ssl.SSLCertVerificationError, host: str, *, own_trust: bool) -> str:
    """Say why a certificate is not trusted, and what to do.

    `own_trust`: a ca_file was given.
    """
    if isinstance(error, FingerprintMismatch):
        return (
            f"the certificate of {host} has another fingerprint, {with_colons(error.found)}; if its administrator"
            " confirms that it was replaced, use --fingerprint with the new one"
        )
    clock = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    match error.verify_code:
        case 9:
            return f"the certificate of {host} is not valid yet; check this computer's date and time, now {clock}"
        case 10:
            return (
                f"the certificate of {host} has expired; its administrator has to renew it (if this computer's date and"
                f" time are right, now {clock})"
            )
        case 62 | 64:
            return (
                f"the certificate of {host} is for another name; use the name that the certificate is for as --server"
            )
        case 18:
            return (
                f"the certificate of {host} is self-signed; if its administrator confirms it, use --ca-file with the"
                " certificate's file, or --fingerprint with its SHA-256"
            )
        case 19:
            return f"the certificate of {host} is from an unknown authority; use --ca-file with that authority's file"
        case 20 | 21 if own_trust:
            return (
                f"the certificate of {host} is not from the authority in ca_file, or the server does not send its"
                " intermediate certificates; check the file, or add the intermediate certificate to it"
            )
        case 20 | 21:
            return (
                f"the certificate of {host} is from an unknown authority (then use --ca-file with its file), or the"
                " server does not send its intermediate certificates (then its administrator has to add them)"
            )
        case _:
            why = getattr(error, "verify_message", "") or "it cannot be verified"
            return f"the certificate of {host} is not trusted ({why})"


def tls_reason(error: BaseException) -> str:
    """Return OpenSSL's name for a TLS failure, such as UNSUPPORTED_PROTOCOL.

    "" for other errors.
    """
    failure = tls_error(error)
    if failure is not None and failure.reason:
        return failure.reason
    found = re.search(r"\[SSL: ([A-Z0-9_]+)\]", str(error))  # after the handshake only the text is left
    return found[1] if found else ""


def handshake_advice(reason: str, host: str) -> str:
    """Say why a TLS handshake failed, and what to do.

    `reason`: OpenSSL's name for the failure.
    """
    if "PROTOCOL_VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason or "VERSION_TOO_LOW" in reason:
        return f"{host} speaks only an old version of TLS; its administrator has to enable TLS 1.2 or 1.3"
    if "CERTIFICATE_REQUIRED" in reason:
        return f"{host} wants a client certificate; use --client-cert"
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason or "ACCESS_DENIED" in reason):
        return (
            f"{host} does not accept the client certificate; check --client-cert, or ask its administrator for another"
        )
    if "UNRECOGNIZED_NAME" in reason:
        return f"{host} has no certificate for this name; check the name in --server"
    if "HANDSHAKE_FAILURE" in reason or "NO_SHARED_CIPHER" in reason or "NO_PROTOCOLS" in reason:
        return (
            f"{host} and this computer have no TLS settings in common, or it wants a client certificate (--client-cert)"
        )
    if "TOO_SMALL" in reason or "TOO_WEAK" in reason:
        return f"{host} has a certificate or key that is too weak; its administrator has to renew it"
    return f"the TLS handshake with {host} failed ({reason.lower().replace('_', ' ') or 'no reason given'})"


def reason_of(error: BaseException) -> str:
    """Return the operating system's or OpenSSL's reason in a few words."""
    number = getattr(error, "errno", None)
    words = (
        os.strerror(number) if isinstance(number, int) and number in errno.errorcode else ""
    )  # asyncio's own text repeats the address
    reason = getattr(error, "reason", None) or words or getattr(error, "strerror", None) or type(error).__name__
    return str(reason).lower().replace("_", " ")[:120]
