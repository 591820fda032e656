"""A broker that asks who is there, in every way it can: TLS, client certificates, passwords, tokens.

Everything that is secret is made up anew for each broker, so that a test can look for it anywhere.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
import secrets
import shutil
import ssl
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from tests.kit.kafka.base import LOOPBACK, VERSION, NoBrokerError, free_ports
from tests.kit.kafka.jvm import CACHE, JvmBroker, find_java

USER = "forewarn"
"""The one user, by whatever name a mechanism knows users, that may do anything; every other may do nothing."""
OUTSIDER = "outsider"
"""A user who can prove who they are, and may do nothing."""
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
AUDIENCE = "kafka"
SCOPE = "risk"


class Authority:
    """A throw-away certificate authority; `folder` gets its certificate, and what it issues, as PEM."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.ca = folder / f"{name}.pem"
        certificate = self._certificate(self._subject, self._key.public_key())
        certificate = certificate.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.ca.write_bytes(self._sign(certificate))

    def issue(self, name: str, key_password: str | None = None) -> tuple[Path, Path]:
        """The files of a certificate of that name, good for this machine's loopback address, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._certificate(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key()
        ).add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))]), critical=False)
        kept: serialization.KeySerializationEncryption = (
            serialization.NoEncryption()
            if key_password is None
            else serialization.BestAvailableEncryption(key_password.encode())
        )
        files = self._folder / f"{self._name}-{name}.pem", self._folder / f"{self._name}-{name}.key"
        files[0].write_bytes(self._sign(certificate))
        files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, kept))
        return files

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(self._subject, subject, key, x509.random_serial_number())
        return builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))

    def _sign(self, certificate: x509.CertificateBuilder) -> bytes:
        return certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class TokenEndpoint:
    """Issues signed tokens over HTTPS to clients that know their secret; `keys` is what a broker checks them by.

    A client that does not know it is answered with all that it sent, as a careless one of these might.
    """

    def __init__(self, clients: dict[str, str], certificate: tuple[Path, Path], folder: Path) -> None:
        self._clients = clients
        self._key = rsa.generate_private_key(65_537, 2_048)
        self.keys = folder / "keys.json"
        self.keys.write_text(json.dumps({"keys": [self._public()]}), encoding="utf-8")
        self.issued = 0
        self._server = ThreadingHTTPServer((LOOPBACK, 0), partial(_Answer, self))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://{LOOPBACK}:{self._server.server_port}/token"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, authorization: str, form: dict[str, list[str]]) -> tuple[int, dict[str, object]]:
        """The status and the JSON that a request is answered with."""
        given = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        client, _, secret = given.partition(":")
        if self._clients.get(client) != secret or form.get("grant_type") != ["client_credentials"]:
            careless = f"no client like {given} ({authorization})"
            return 401, {"error": "invalid_client", "error_description": careless}
        if form.get("scope") != [SCOPE]:
            return 400, {"error": "invalid_scope"}
        self.issued += 1
        return 200, {"access_token": self._token(client), "token_type": "Bearer", "expires_in": 3_600}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _token(self, subject: str) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 3_600, "scope": SCOPE}
        signed = f"{_part({'alg': 'RS256', 'kid': 'test', 'typ': 'JWT'})}.{_part(claims)}"
        return f"{signed}.{_text(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def _public(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        n, e = (_text(number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in (numbers.n, numbers.e))
        return {"kty": "RSA", "kid": "test", "use": "sig", "alg": "RS256", "n": n, "e": e}


class _Answer(BaseHTTPRequestHandler):
    """One request to a token endpoint."""

    def __init__(self, endpoint: TokenEndpoint, *arguments: Any) -> None:
        self._endpoint = endpoint
        super().__init__(*arguments)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        status, said = self._endpoint.answer(self.headers.get("Authorization", ""), form)
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is said of a request."""


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _part(claims: dict[str, object] | dict[str, str]) -> str:
    return _text(json.dumps(claims).encode())


class SecureBroker(JvmBroker):
    """A broker with a listener of each kind besides the plain one of the tests themselves.

    `at` is where each kind listens: `tls`, `mtls` (which wants a client certificate) and `sasl` (over TLS).
    """

    def __init__(self, java: str, maven: str | None, folder: Path) -> None:
        super().__init__(java, maven)
        self.description += ", with every kind of login"
        self.password, self.key_password, self.client_secret = (f"hush-{secrets.token_hex(12)}" for _ in range(3))
        self.ours, self.strange = Authority(folder, "ours"), Authority(folder, "strange")
        self.certificate = self.ours.issue(USER, self.key_password)
        self._server = folder / "server.pem"
        self._server.write_bytes(b"".join(file.read_bytes() for file in reversed(self.ours.issue("broker"))))
        clients = {USER: self.client_secret, OUTSIDER: self.client_secret}
        self.tokens = TokenEndpoint(clients, self.ours.issue("tokens"), folder)
        self.at: dict[str, str] = {}
        keys = self.tokens.keys.as_uri()
        self._java_options = [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={keys}"]
        self._format_options = [
            option
            for mechanism in SCRAM
            for user in (USER, OUTSIDER)
            for option in ("--add-scram", f"{mechanism}=[name={user},password={self.password}]")
        ]

    def close(self) -> None:
        self.tokens.close()
        super().close()

    def _configure(self, home: Path, settings: dict[str, str]) -> None:
        del home
        names = ("tls", "mtls", "sasl")
        self.at = {name: f"{LOOPBACK}:{port}" for name, port in zip(names, free_ports(3), strict=True)}
        listeners = "".join(f",{name.upper()}://{address}" for name, address in self.at.items())
        settings["listeners"] += listeners
        settings["advertised.listeners"] += listeners
        settings["listener.security.protocol.map"] += ",TLS:SSL,MTLS:SSL,SASL:SASL_SSL"
        module, oauth = "org.apache.kafka.common.security", "listener.name.sasl.oauthbearer"
        settings |= {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # the plain listener, and the one that asks for no name
            "super.users": f"User:ANONYMOUS;User:{USER};User:CN={USER}",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._server),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.ours.ca),
            "listener.name.mtls.ssl.client.auth": "required",
            "listener.name.sasl.sasl.enabled.mechanisms": ",".join(("PLAIN", *SCRAM, "OAUTHBEARER")),
            "listener.name.sasl.plain.sasl.jaas.config": (
                f"{module}.plain.PlainLoginModule required "
                f'user_{USER}="{self.password}" user_{OUTSIDER}="{self.password}";'
            ),
            **{
                f"listener.name.sasl.{name.lower()}.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;"
                for name in SCRAM
            },
            f"{oauth}.sasl.jaas.config": f"{module}.oauthbearer.OAuthBearerLoginModule required;",
            f"{oauth}.sasl.server.callback.handler.class": f"{module}.oauthbearer.OAuthBearerValidatorCallbackHandler",
            "sasl.oauthbearer.jwks.endpoint.url": self.tokens.keys.as_uri(),
            "sasl.oauthbearer.expected.audience": AUDIENCE,
            "sasl.oauthbearer.expected.issuer": self.tokens.url,
        }


def find_secure_broker(folder: Path) -> SecureBroker:
    """A broker with every kind of login, not yet started; it is always a JVM of this machine.

    Errors: `NoBrokerError`, saying what is missing.
    """
    java, maven = find_java(), shutil.which("mvn")
    if java is None or (maven is None and not (CACHE / VERSION / "jars").is_dir()):
        raise NoBrokerError("a broker that asks for logins needs Java 17, and Maven once, on this machine")
    return SecureBroker(java, maven, folder)
