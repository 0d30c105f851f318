"""The TLS context of the API's TCP port: our certificate, and client certificates of our authority on request.

Made by the daemon at start, from files that `certificates` made; the certificate can be changed while it serves.
"""

import ssl
from asyncio.sslproto import SSLProtocol
from pathlib import Path

# asyncio keeps a buffer of 256 KiB for each TLS connection, and a client holds one per watch. A record has 16 KiB.
SSLProtocol.max_size = 32 * 1024


def make_context(server: Path, authority: Path) -> ssl.SSLContext:
    """Return the server's context: TLS 1.2 and newer, HTTP/1.1, a client certificate asked for and not required."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    context.load_verify_locations(cafile=authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    use_certificate(context, server)
    return context


def use_certificate(context: ssl.SSLContext, server: Path) -> None:
    """Use the certificate and key in `server` for every handshake from now on."""
    context.load_cert_chain(server)
