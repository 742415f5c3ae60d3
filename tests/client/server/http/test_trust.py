from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kerio_resync.errors import BadSettings
from kerio_resync.server.http.trust import tls_context, tls_error, untrusted


def test_tls_context_refuses_ca_file_without_certificate(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    revocations = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")]))
        .last_update(now)
        .next_update(now + timedelta(days=1))
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    (tmp_path / "ca.pem").write_bytes(revocations.public_bytes(serialization.Encoding.PEM))
    with pytest.raises(BadSettings, match="holds no certificate"):
        tls_context(tmp_path / "ca.pem")


def test_tls_context_refuses_missing_client_cert(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"client_cert .*none\.pem cannot be read: no such file"):
        tls_context(None, tmp_path / "none.pem")


def test_tls_error_of_circular_causes_is_none() -> None:
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert tls_error(first) is None


@pytest.mark.parametrize(
    ("code", "message", "says"),
    [
        (19, "", "from an unknown authority; use --ca-file"),
        (26, "unsuitable certificate purpose", r"not trusted \(unsuitable certificate purpose\)"),
        (26, "", r"not trusted \(it cannot be verified\)"),
    ],
)
def test_untrusted_names_reason_of_verify_code(code: int, message: str, says: str) -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, message
    with pytest.raises(ValueError, match=says):
        raise ValueError(untrusted(error, "mail.test", own_trust=False))
