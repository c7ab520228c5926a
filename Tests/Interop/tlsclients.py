"""Clients of Python's `ssl` at our port, behind a negotiation made by hand: sound ones, and ones that must be refused.

Their certificates are made with the package `cryptography`, and have nothing in common with ours but the rules (TLS-02 to TLS-05).
"""

import datetime
import os
import socket
import ssl
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.1")
HEADER = b"\x13/multistream/1.0.0\n"
PROPOSAL = b"\x0b/tls/1.0.0\n"
HOUR = datetime.timedelta(hours=1)


def der(tag, content):
    count = len(content)
    if count < 0x80:
        return bytes([tag, count]) + content
    length = count.to_bytes((count.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def certificate(folder, name, key=None, start=-HOUR, end=HOUR, vouched=None, extra=(), is_named=True, signer=None):
    """A file with a certificate and its key. `vouched` is the key that the identity has signed, if it is another."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    identity = ed25519.Ed25519PrivateKey.generate()
    spki = (vouched or key).public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    raw = identity.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    value = der(0x30, der(4, b"\x08\x01\x12\x20" + raw) + der(4, identity.sign(b"libp2p-tls-handshake:" + spki)))
    subject = x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, "7")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().serial_number(9).subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.not_valid_before(now + start).not_valid_after(now + end)
    if is_named:
        builder = builder.add_extension(x509.UnrecognizedExtension(EXTENSION, value), critical=False)
    for oid, critical in extra:
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), b"\x05\x00"), critical=critical)
    signer = signer or key
    made = builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    path = os.path.join(folder, name + ".pem")
    with open(path, "wb") as file:
        file.write(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        file.write(made.public_bytes(serialization.Encoding.PEM))
    return path


def read_exactly(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        assert more, f"the connection ended after {len(data)} of {count} bytes"
        data += more
    return data


def dial(port, path, alpn=("/yamux/1.0.0", "libp2p"), version=ssl.TLSVersion.TLSv1_3, name=None):
    """What the session has agreed on, once the other side has said something; an error if it will not have us."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = version
    if path:
        context.load_cert_chain(path)
    if alpn:
        context.set_alpn_protocols(alpn)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
        raw.sendall(HEADER + PROPOSAL)
        assert read_exactly(raw, len(HEADER + PROPOSAL)) == HEADER + PROPOSAL, "TLS is not agreed on"
        with context.wrap_socket(raw, server_hostname=name) as session:
            agreed = session.selected_alpn_protocol()
            if agreed == "/yamux/1.0.0":
                # A ping, and its answer (YMX-11): yamux it is.
                session.sendall(bytes.fromhex("000200010000000000000007"))
                frames = b""
                while bytes.fromhex("000200020000000000000007") not in frames:
                    more = session.recv(4096)
                    assert more, f"no answer to a ping: {frames.hex()}"
                    frames += more
            else:
                # The muxer is agreed on behind the handshake (SEC-05).
                wanted = HEADER + b"\x0d/yamux/1.0.0\n"
                session.sendall(wanted)
                heard = b""
                while len(heard) < len(wanted):
                    more = session.recv(len(wanted) - len(heard))
                    assert more, f"no muxer: {heard}"
                    heard += more
                assert heard == wanted, f"no muxer: {heard}"
            return session.version(), agreed


def refused(port, path, words, **options):
    """That it is, and how we are told."""
    try:
        agreed = dial(port, path, **options)
    except (ssl.SSLError, AssertionError, ConnectionError) as error:
        assert any(word in str(error) for word in words), f"refused otherwise than by {words}: {error}"
        return
    raise AssertionError(f"not refused, but {agreed}")


def run(peer, folder, step):
    port = peer.port
    step("Python's ssl: P-256, Ed25519 and RSA certificates, with early and late muxers, and with a name that nobody asked for")
    for name, key in (
        ("p256", None), ("p384", ec.generate_private_key(ec.SECP384R1())), ("ed25519", ed25519.Ed25519PrivateKey.generate()),
        ("rsa", rsa.generate_private_key(65537, 2048)),
    ):
        path = certificate(folder, name, key)
        assert dial(port, path) == ("TLSv1.3", "/yamux/1.0.0"), name
        assert dial(port, path, alpn=("/mplex/6.7.0", "/yamux/1.0.0", "libp2p"), name="example.org") == ("TLSv1.3", "/yamux/1.0.0")
        assert dial(port, path, alpn=("libp2p",)) == ("TLSv1.3", "libp2p"), name
        assert dial(port, path, alpn=()) == ("TLSv1.3", None), name
    path = certificate(folder, "extra", extra=[("1.2.3.4", False)])
    assert dial(port, path)[0] == "TLSv1.3", "an unknown extension does not matter"

    step("Python's ssl: what must be refused")
    good = certificate(folder, "good")
    other = ec.generate_private_key(ec.SECP256R1())
    refused(port, None, ["CERTIFICATE_REQUIRED", "certificate required"])
    refused(port, good, ["PROTOCOL_VERSION", "protocol version"], version=ssl.TLSVersion.TLSv1_2)
    refused(port, good, ["NO_APPLICATION_PROTOCOL", "no application protocol"], alpn=("h2",))
    two = os.path.join(folder, "two.pem")
    with open(two, "w") as file:
        for each in (good, certificate(folder, "second")):
            with open(each) as part:
                file.write(part.read())
    for name, path in (
        ("two", two),
        ("expired", certificate(folder, "expired", start=-2 * HOUR, end=-HOUR)),
        ("early", certificate(folder, "early", start=HOUR, end=2 * HOUR)),
        ("nameless", certificate(folder, "nameless", is_named=False)),
        ("another's", certificate(folder, "anothers", vouched=other)),
        ("critical", certificate(folder, "critical", extra=[("1.2.3.4", True)])),
        ("signed by another", certificate(folder, "signed", signer=other)),
    ):
        refused(port, path, ["BAD_CERTIFICATE", "bad certificate"])
        step(f"  {name}: refused")
    deadline = time.monotonic() + 5
    while not peer.is_healthy():
        assert time.monotonic() < deadline, "the peer is not well"
