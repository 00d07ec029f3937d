"""Who may ask: names a server answers to, pages that may call it, API keys, and what a proxy in front says of users.

Open to everybody stay what kubelets and Prometheus read, `OPEN`, and the page's own files, which hold no data.
"""

import hmac
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from serving.contract.errors import SluiceError
from serving.contract.refusals import Refused

KEY_VARIABLE = "SLUICE_API_KEY"
"""The client's own key: of the command line, load tests, and this server when it asks its peers."""
LEAST = 16
"""Characters of a key: fewer can be guessed."""
OPEN = re.compile(
    r"/|/metrics|/v2/health/(live|ready)|/v2/models|/v[12]/models/[^/]+/ready|/v1/models/[^/:]+|/page/[^/]+"
)
OPEN_RPC = frozenset({"ServerLive", "ServerReady", "ModelReady"})
_LOCAL = re.compile(r"localhost|127(\.\d{1,3}){3}|\[::1\]")
_HOST = re.compile(r"([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")
_NAME = re.compile(r"[\w.@+-]{1,64}")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Headers = Mapping[bytes, bytes]


def bearer(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a client of ours sends: ``SLUICE_API_KEY`` as a bearer token, nothing where that is not set.

    Errors: `SluiceError` for a key that is no header.
    """
    key = environment.get(KEY_VARIABLE, "").strip()
    if not re.fullmatch(r"[!-~]*", key):
        raise SluiceError(f"{KEY_VARIABLE}: a key is printable ASCII without blanks; copy it again")
    return {"Authorization": f"Bearer {key}"} if key else {}


def is_local(host: str) -> bool:
    """Whether only this machine reaches what listens on ``host``."""
    return bool(_LOCAL.fullmatch(host.lower())) or host == "::1"


def allowed_hosts(environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """The names that ``SLUICE_ALLOWED_HOSTS`` adds to a server's own: lower case, without ports."""
    names = environment.get("SLUICE_ALLOWED_HOSTS", "").replace(",", " ").split()
    return frozenset(_bare(name.lower()) for name in names)


@dataclass(frozen=True)
class Access:
    """The rules of one server. Without any, everybody may ask, under any name.

    ``local``: it listens on loopback, so it answers to loopback's names alone, and to ``hosts``. ``keys``: names and
    the SHA-256 of their keys. ``header``: where ``proxies`` name a user that they know; nobody else is believed.
    """

    local: bool = False
    hosts: frozenset[str] = frozenset()
    keys: tuple[tuple[str, bytes], ...] = ()
    header: str = ""
    proxies: tuple[Network, ...] = ()

    @property
    def closed(self) -> bool:
        """Whether a key or a name is asked for."""
        return bool(self.keys or self.header)

    def check_host(self, headers: Headers) -> None:
        """Is the request for us, and from no page of others? Errors: 400, 403, and 421 (RFC 9110, 15.5.20)."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if host and not _HOST.fullmatch(host):
            raise Refused(400, "the header Host is not a name with a port", blamed=True)
        name = _bare(host)
        if (self.local or self.hosts) and not (name in self.hosts or (self.local and _LOCAL.fullmatch(name))):
            ours = ", ".join(sorted(self.hosts)) or "localhost and 127.0.0.1"
            raise Refused(421, f"no service of the name {name[:100]!r} here; it answers to {ours} "
                          "(SLUICE_ALLOWED_HOSTS names more)", blamed=True)  # fmt: skip
        if (origin := headers.get(b"origin")) is not None:
            scheme, _, page = origin.decode("latin-1").lower().partition("://")
            same = {_plain(host), _plain(headers.get(b"x-forwarded-host", b"").decode("latin-1").lower())} - {""}
            if scheme not in ("http", "https") or not (_plain(page) in same or _bare(page) in self.hosts):
                raise Refused(403, "pages of other sites may not call this service", blamed=True)

    def client(self, peer: str, forwarded: str) -> str:
        """The client's address: ``peer``, or what X-Forwarded-For says where the peer is one of our proxies.

        Of IPv6 the network of 64 bits, since one client has all of its addresses.
        """
        for address in reversed([*forwarded[-1024:].split(","), peer]):
            if (client := address.strip()[:64]) and not self._trusted(client):
                return _household(client) if ":" in client else client
        return peer

    def identity(self, peer: str, headers: Headers) -> str:
        """The name behind a key or, by a proxy's word, of a user; "" where nobody is asked. Errors: 401."""
        if not self.closed:
            return ""
        if self.header and self._trusted(peer):
            said = headers.get(self.header.encode(), b"").decode("utf-8", "replace").strip()
            if said:
                return re.sub(r"[^\w.@+:/-]", "?", said)[:128]
        scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        challenge = 'Bearer realm="sluice"'
        if scheme.lower() != "bearer" or not key.strip():
            raise _unknown("this service wants an API key: send the header 'Authorization: Bearer KEY'", challenge)
        digest, name = sha256(key.strip().encode()).digest(), ""
        for owner, known in self.keys:  # all of them, so that the time taken tells nothing
            if hmac.compare_digest(digest, known):
                name = owner
        if not name:
            raise _unknown("this API key is not known here", challenge + ', error="invalid_token"')
        return name

    def _trusted(self, address: str) -> bool:
        if not self.proxies:
            return False
        try:
            number = ipaddress.ip_address(address)
        except ValueError:
            return False
        number = getattr(number, "ipv4_mapped", None) or number
        return any(number in network for network in self.proxies)


EVERYBODY = Access()
"""No rules."""


def read_access(environment: Mapping[str, str] = os.environ) -> Access:
    """The rules that ``SLUICE_…`` variables set; README.md, "Access", says which.

    Errors: `SluiceError` for a key too short or named twice, an address that is none, a header that nobody may set, and
    for ``SLUICE_ACCESS=required`` without any key.
    """

    def words(name: str) -> list[str]:
        return environment.get(name, "").replace(",", " ").split()

    keys = environment.get("SLUICE_API_KEYS", "")
    if file := environment.get("SLUICE_API_KEYS_FILE", ""):
        try:
            keys += "\n" + Path(file).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise SluiceError(f"SLUICE_API_KEYS_FILE={file}: cannot be read ({error})") from error
    header = environment.get("SLUICE_IDENTITY_HEADER", "").strip().lower()
    proxies = tuple(map(_network, words("SLUICE_TRUSTED_PROXIES")))
    if header and not proxies:
        raise SluiceError("SLUICE_IDENTITY_HEADER wants SLUICE_TRUSTED_PROXIES: the addresses that may set it")
    access = Access(False, allowed_hosts(environment), _keys(keys), header, proxies)
    wanted = environment.get("SLUICE_ACCESS") or "open"
    if wanted not in ("open", "required"):
        raise SluiceError(f"SLUICE_ACCESS={wanted}: expected open or required")
    if wanted == "required" and not access.closed:
        raise SluiceError("SLUICE_ACCESS=required, but there is no key: set SLUICE_API_KEYS, SLUICE_API_KEYS_FILE or "
                          "SLUICE_IDENTITY_HEADER")  # fmt: skip
    return access


def _keys(text: str) -> tuple[tuple[str, bytes], ...]:
    found: dict[str, bytes] = {}
    for number, line in enumerate(text.replace(",", "\n").splitlines(), 1):
        if not (line := line.strip()) or line.startswith("#"):
            continue
        name, _, key = line.partition(":") if ":" in line else ("default", "", line)
        name = name.strip()
        if not _NAME.fullmatch(name) or name in found:
            raise SluiceError(f"SLUICE_API_KEYS: entry {number} has no name, or one that is taken; expected name:key")
        if not re.fullmatch(r"[!-~]+", key := key.strip()) or len(key) < LEAST:
            raise SluiceError(f"SLUICE_API_KEYS: entry {number} needs a key of {LEAST} characters or more, no blanks")
        found[name] = sha256(key.encode()).digest()
    return tuple(found.items())


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise SluiceError(f"SLUICE_TRUSTED_PROXIES: {text!r} is no address; expected such as 10.0.0.0/8") from None


def _unknown(sentence: str, challenge: str) -> Refused:
    return Refused(401, sentence, {"www-authenticate": challenge}, blamed=True)


def _household(address: str) -> str:
    try:
        number = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    return str(number.ipv4_mapped or ipaddress.IPv6Network((number, 64), strict=False))


def _bare(host: str) -> str:
    """A host's name without its port."""
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def _plain(host: str) -> str:
    """A host with its port, unless that is a scheme's own."""
    return host.removesuffix(":80").removesuffix(":443")
