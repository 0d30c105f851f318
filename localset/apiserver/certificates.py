"""The installation's own certificate authority and what it signs: the server's certificate and those of people.

The daemon calls `ensure_certificates` in a short process (`python -m localset.apiserver.certificates`), because the
cryptography library would cost a warm daemon 90 ms and 7 MB for nothing; tests call it in their own. Everything here is
strict X.509, as Python's own verifier asks since 3.13 (kube-api.md 1). NB: at module level only the standard library
may be imported, and keys are never written otherwise than 0600.
"""

import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localset.base.files import make_private_directory, write_atomically
from localset.base.frozen import frozen

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

ADMIN = "localset-admin"
MASTERS = "system:masters"
SERVER_NAMES = (
    "127.0.0.1",
    "::1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
CA_DAYS = 3650
LEAF_DAYS = 397
RENEW_AFTER = timedelta(days=1)
_BACKDATED = timedelta(hours=1)


@frozen
class CertificateFiles:
    """Where the PEM files are, below the data directory."""

    directory: Path

    @property
    def ca(self) -> Path:
        """The authority's certificate."""
        return self.directory / "ca.crt"

    @property
    def ca_key(self) -> Path:
        """The authority's key."""
        return self.directory / "ca.key"

    @property
    def server(self) -> Path:
        """The server's certificate and, in the same file, its key: both change in one step."""
        return self.directory / "server.pem"

    @property
    def admin(self) -> Path:
        """The owner's certificate and key, as `server`."""
        return self.directory / "admin.pem"

    @property
    def names(self) -> Path:
        """What the server's certificate was made for and when, so that nobody has to parse it at start."""
        return self.directory / "server.json"


def is_complete(files: CertificateFiles) -> bool:
    """Tell whether a server can start with what is there."""
    return all(path.exists() for path in (files.ca, files.ca_key, files.server, files.admin, files.names))


def has_names(files: CertificateFiles, names: Sequence[str]) -> bool:
    """Tell whether the server's certificate was made for all of `names`."""
    try:
        return set(names) <= set(json.loads(files.names.read_bytes())["names"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def is_fresh(files: CertificateFiles, now: datetime) -> bool:
    """Tell whether the server's certificate is younger than a day; one from the future is not."""
    try:
        made = datetime.fromisoformat(json.loads(files.names.read_bytes())["made"])
        return timedelta(0) <= now - made < RENEW_AFTER
    except (OSError, ValueError, KeyError, TypeError):
        return False


def ensure_certificates(files: CertificateFiles, names: Sequence[str], now: datetime) -> None:
    """Make what is missing, and the server's certificate anew for `names`; the authority is made once and kept."""
    make_private_directory(files.directory)
    if not (files.ca.exists() and files.ca_key.exists()):
        _make_authority(files, now)
    if not files.admin.exists():
        certificate, key = make_client(files, ADMIN, (MASTERS,), now)
        write_atomically(files.admin, (certificate + key).encode())
    certificate, key = _make_server(files, names, now)
    write_atomically(files.server, (certificate + key).encode())
    facts = {"names": list(names), "made": now.isoformat()}
    write_atomically(files.names, json.dumps(facts).encode())


def make_client(files: CertificateFiles, user: str, groups: Sequence[str], now: datetime) -> tuple[str, str]:
    """Return (certificate, key) in PEM for a person: CN is the user, each O a group. Lasts as long as the authority."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, user)])

    def extend(builder: Any) -> Any:
        return builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)

    return _sign(files, subject, extend, now, CA_DAYS)


def _make_server(files: CertificateFiles, names: Sequence[str], now: datetime) -> tuple[str, str]:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))

    def extend(builder: Any) -> Any:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        return builder.add_extension(x509.SubjectAlternativeName(found), critical=False)

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localset-apiserver")])
    return _sign(files, subject, extend, now, LEAF_DAYS)


def _key_usage(*, is_authority: bool) -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _begin(subject: "x509.Name", key: "EllipticCurvePrivateKey", now: datetime, days: int) -> Any:
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _make_authority(files: CertificateFiles, now: datetime) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    # The identifier in the name keeps authorities of two data directories apart in one trust store.
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()[:12]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"localset-ca-{identifier}")])
    certificate = (
        _begin(subject, key, now, CA_DAYS)
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_authority=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_atomically(files.ca_key, _key_pem(key).encode())
    write_atomically(files.ca, certificate.public_bytes(serialization.Encoding.PEM))


def _sign(
    files: CertificateFiles, subject: "x509.Name", extend: Callable[[Any], Any], now: datetime, days: int
) -> tuple[str, str]:
    """Return (certificate, key) in PEM of a new key, signed by the authority and not outliving it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    authority = x509.load_pem_x509_certificate(files.ca.read_bytes())
    signing: Any = serialization.load_pem_private_key(files.ca_key.read_bytes(), password=None)
    left = (authority.not_valid_after_utc - now).days
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _begin(subject, key, now, min(days, max(left, 0)))
        .issuer_name(authority.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_authority=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )
    certificate = extend(builder).sign(signing, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), _key_pem(key)


def _key_pem(key: "EllipticCurvePrivateKey") -> str:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def split_pem(text: str) -> tuple[str, str]:
    """Return (certificate, key) of one of our files that holds both."""
    begin = text.index("-----BEGIN PRIVATE KEY-----")
    return text[:begin], text[begin:]


def main(arguments: Sequence[str]) -> int:
    """Run `ensure_certificates` for a directory, a moment (ISO 8601) and names."""
    directory, moment, *names = arguments
    ensure_certificates(CertificateFiles(Path(directory)), names, datetime.fromisoformat(moment).astimezone(UTC))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
