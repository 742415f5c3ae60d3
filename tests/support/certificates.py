"""A certificate authority for tests, and certificates with faults."""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey
PLAIN = serialization.NoEncryption()


def pem_of_key(key: Key, encryption: serialization.KeySerializationEncryption = PLAIN) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def made(
    name: str, key: Key, issuer: str, signer: Key, *, days: tuple[int, int] = (-1, 9), ca: bool = False, san: str = ""
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer)).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )  # fmt: skip
    if san:
        names = [x509.IPAddress(ip_address(san)), x509.DNSName("mail.test")]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


class Authority:
    """A root, an intermediate authority, and what they sign."""

    def __init__(self, folder: Path, name: str = "root") -> None:
        self.folder, self.name = folder, name
        self.key, self.middle_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        self.root = made(name, self.key, name, self.key, ca=True)
        self.middle = made("middle", self.middle_key, name, self.key, ca=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(pem(self.root))

    def server(self, *, kind: str = "good") -> tuple[ssl.SSLContext, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        days = {"expired": (-9, -1), "not yet": (5, 9)}.get(kind, (-1, 9))
        san = "127.0.0.2" if kind == "other host" else "127.0.0.1"
        if kind == "self-signed":
            chain = [made("self", key, "self", key, san=san)]
        elif kind == "no intermediate":
            chain = [made("leaf", key, "middle", self.middle_key, san=san)]
        else:
            chain = [made("leaf", key, "middle", self.middle_key, san=san, days=days), self.middle]
        file = self.folder / f"server-{kind}.pem"
        file.write_bytes(pem(*chain) + pem_of_key(key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context, chain[0]


def fingerprint(certificate: x509.Certificate) -> str:
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()
