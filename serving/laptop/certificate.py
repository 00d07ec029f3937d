"""A certificate for one run of the control plane: kubectl sends its token over TLS only."""

import datetime
import ipaddress
import ssl
import tempfile
from typing import NamedTuple


class Certificate(NamedTuple):
    """What the server needs, and the PEM text by which a client knows it."""

    context: ssl.SSLContext
    text: bytes


def certificate() -> Certificate:
    """A new key and a certificate for 127.0.0.1 and localhost, signed by itself; the key is kept nowhere."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key, day = ec.generate_private_key(ec.SECP256R1()), datetime.timedelta(days=1)
    now, name = datetime.datetime.now(datetime.UTC), x509.Name.from_rfc4514_string("CN=sluice laptop")
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + 3650 * day)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    text = signed.public_bytes(Encoding.PEM)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.NamedTemporaryFile() as file:  # of mode 0600; `ssl` reads keys from files only
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + text)
        file.flush()
        context.load_cert_chain(file.name)
    return Certificate(context, text)
