#!/usr/bin/env python3
"""A model of a Kubo daemon without a network: the part of its HTTP RPC API that a cluster peer uses, on blocks in memory.

kubo.py ADDRESS:PORT [SEED]        serves until it is killed; SEED decides the peer ID

Blocks are stored by multihash. What is not here is nowhere: a pin of it waits, as Kubo's does, until the client goes away.
`resolve` of names fails as it does without routing. What else differs from Kubo is what a cluster peer never asks.
"""
import base64, hashlib, json, os, select, socket, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

# ---------------------------------------------------------------- CIDs

B58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
CODECS = {"raw": 0x55, "dag-pb": 0x70, "dag-cbor": 0x71, "libp2p-key": 0x72, "json": 0x0200, "dag-json": 0x0129, "cbor": 0x51}
HASHES = {
    "identity": (0x00, None), "sha1": (0x11, "sha1"), "sha2-256": (0x12, "sha256"), "sha2-512": (0x13, "sha512"),
    "sha3-512": (0x14, "sha3_512"), "sha3-384": (0x15, "sha3_384"), "sha3-256": (0x16, "sha3_256"), "sha3-224": (0x17, "sha3_224"),
    "blake2b-256": (0xB220, "blake2b"), "blake2s-256": (0xB260, "blake2s"),
}

class Bad(Exception): pass

def varint(n):
    out = b""
    while n > 127: out += bytes([n & 127 | 128]); n >>= 7
    return out + bytes([n])

def read_varint(b, i):
    n = shift = 0
    while True:
        if i >= len(b): raise Bad("unexpected end")
        n |= (b[i] & 127) << shift; shift += 7; i += 1
        if b[i - 1] < 128: return n, i

def b58encode(b):
    n, out = int.from_bytes(b, "big"), ""
    while n: n, r = divmod(n, 58); out = B58[r] + out
    return "1" * (len(b) - len(b.lstrip(b"\0"))) + out

def b58decode(s):
    n = 0
    for c in s:
        if c not in B58: raise Bad("selected encoding not supported")
        n = n * 58 + B58.index(c)
    return b"\0" * (len(s) - len(s.lstrip("1"))) + n.to_bytes((n.bit_length() + 7) // 8, "big")

class CID:
    def __init__(self, version, codec, multihash): self.version, self.codec, self.multihash = version, codec, multihash

    @classmethod
    def of(cls, b):
        """From bytes; the rest of the bytes too."""
        if b[:2] == b"\x12\x20": return cls(0, 0x70, b[:34]), b[34:]
        version, i = read_varint(b, 0)
        if version != 1: raise Bad(f"expected 1 as the cid version number, got: {version}")
        codec, i = read_varint(b, i)
        _, j = read_varint(b, i)
        length, j = read_varint(b, j)
        if len(b) < j + length: raise Bad("invalid cid: cid too short")
        return cls(1, codec, b[i:j + length]), b[j + length:]

    @classmethod
    def parse(cls, s):
        try:
            if s.startswith("Qm") and len(s) == 46: return cls.of(b58decode(s))[0]
            if s[:1] == "b": raw = base64.b32decode(s[1:].upper() + "=" * (-len(s[1:]) % 8))
            elif s[:1] == "z": raw = b58decode(s[1:])
            elif s[:1] == "f": raw = bytes.fromhex(s[1:])
            elif s[:1] == "k": raw = base36(s[1:])
            else: raise Bad("selected encoding not supported")
            return cls.of(raw)[0]
        except (ValueError, IndexError) as e: raise Bad(str(e))

    def __str__(self):
        if self.version == 0: return b58encode(self.multihash)
        return "b" + base64.b32encode(b"\x01" + varint(self.codec) + self.multihash).decode().lower().rstrip("=")

def base36(s):
    n = int(s, 36)
    return n.to_bytes((n.bit_length() + 7) // 8, "big")

def multihash(name, length, data):
    code, function = HASHES[name]
    if function is None: digest = data
    elif function.startswith("blake2"): digest = getattr(hashlib, function)(data, digest_size=32).digest()
    else: digest = getattr(hashlib, function)(data).digest()
    if length >= 0: digest = digest[:length]
    return varint(code) + varint(len(digest)) + digest

# ---------------------------------------------------------------- links

def protobuf(b):
    i, out = 0, []
    while i < len(b):
        tag, i = read_varint(b, i)
        if tag & 7 == 0: value, i = read_varint(b, i)
        elif tag & 7 == 2:
            n, i = read_varint(b, i); value, i = b[i:i + n], i + n
            if len(value) < n: raise Bad("unexpected end")
        else: raise Bad("wrong wire type")
        out.append((tag >> 3, value))
    return out

def cbor(b, i=0):
    """The value at i, with links as CID, and where it ends."""
    major, small = b[i] >> 5, b[i] & 31; i += 1
    if major == 7: return {20: False, 21: True, 22: None}.get(small), i + {25: 2, 26: 4, 27: 8}.get(small, 0)
    if small < 24: n = small
    else: size = 1 << small - 24; n, i = int.from_bytes(b[i:i + size], "big"), i + size
    if major == 0: return n, i
    if major == 1: return -1 - n, i
    if major in (2, 3): return (b[i:i + n] if major == 2 else b[i:i + n].decode()), i + n
    if major == 4:
        out = []
        for _ in range(n): v, i = cbor(b, i); out.append(v)
        return out, i
    if major == 5:
        out = {}
        for _ in range(n):
            k, i = cbor(b, i); out[k], i = cbor(b, i)
        return out, i
    v, i = cbor(b, i)
    return (CID.of(v[1:])[0] if n == 42 else v), i

def cids_in(x):
    if isinstance(x, CID): return [x]
    if isinstance(x, dict): x = list(x.values())
    return [c for y in x for c in cids_in(y)] if isinstance(x, list) else []

def links(cid, data):
    """Name and CID of each link, in order."""
    if cid.codec == 0x70:
        fields = [dict(protobuf(v)) for n, v in protobuf(data) if n == 2]
        return [(f.get(2, b"").decode(errors="replace"), CID.of(f[1])[0]) for f in fields]
    if cid.codec == 0x71: return [("", c) for c in cids_in(cbor(data)[0])]
    return []

# ---------------------------------------------------------------- the node

EMPTY_DIRECTORY = b"\x0a\x02\x08\x01"

class Node:
    def __init__(self, seed, address, port):
        self.lock = threading.Condition()
        self.blocks, self.recursive, self.direct = {}, {}, {}
        self.id = b58encode(b"\x00\x24\x08\x01\x12\x20" + hashlib.sha256(f"kubo {seed}".encode()).digest())   # as of an Ed25519 key
        self.swarm = f"/ip4/{address}/tcp/{port}"
        self.put(EMPTY_DIRECTORY, "sha2-256", 32)      # the root of the files API, which no collection removes

    def put(self, data, function, length):
        mh = multihash(function, length, data)
        with self.lock:
            self.blocks[mh] = data
            self.lock.notify_all()
        return mh

    def walk(self, roots, deep=True):
        """Every multihash below, and the first one that is missing."""
        seen, todo = {}, list(roots)
        while todo:
            cid = todo.pop()
            if cid.multihash in seen: continue
            if cid.multihash[:1] == b"\0": data = cid.multihash[2:]
            elif cid.multihash in self.blocks: data = self.blocks[cid.multihash]
            else: return seen, cid
            seen[cid.multihash] = True
            if deep: todo += [c for _, c in links(cid, data)]
        return seen, None

    def wait_for(self, cid, deep, progress):
        """Until all is here. `progress` hears how many blocks are, and says no when nobody waits any more."""
        while True:
            with self.lock:
                seen, missing = self.walk([cid], deep)
                if missing is None: return len(seen)
                self.lock.wait(0.2)
            if not progress(len(seen)): raise ConnectionError()

    def collect(self):
        with self.lock:
            roots = [CID.parse(k) for k in self.recursive]
            keep, _ = self.walk(roots)
            for k in self.direct: keep[CID.parse(k).multihash] = True
            keep[multihash("sha2-256", 32, EMPTY_DIRECTORY)] = True
            shard = lambda mh: base64.b32encode(mh).rstrip(b"=")[-3:-1]      # the order of Kubo's folders on disk
            gone = sorted((mh for mh in self.blocks if mh not in keep), key=shard)
            for mh in gone: del self.blocks[mh]
        return gone

    def resolve(self, path):
        """The CID at the end of a path below /ipfs or /ipld."""
        parts = [p for p in path.split("/") if p]
        if parts[0] == "ipns":
            if "." not in parts[1]:
                try: CID.parse(parts[1])
                except Bad: raise Bad(
                    f'DNSLink lookup for "{parts[1]}." failed: could not resolve name: DNSLink lookup could not find a TXT '
                    "record (https://docs.ipfs.tech/concepts/dnslink/)")
            raise Bad("could not resolve name")
        cid = CID.parse(parts[1])
        for name in parts[2:]:
            with self.lock: data = self.blocks.get(cid.multihash)
            if data is None: raise Bad(f"block was not found locally (offline): ipld: could not find {cid}")
            found = [c for n, c in links(cid, data) if n == name]
            if not found: raise Bad(f'no link named "{name}" under {cid}')
            cid = found[0]
        return cid

def pin_key(cid): return str(cid)

# ---------------------------------------------------------------- the API

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "go-ipfs/0.42.0", ""
    node = None
    has_begun = False

    def log_message(self, *a): pass
    def do_GET(self):
        self.close_connection = True
        self.plain(405, "405 - Method Not Allowed\n")
    do_PUT = do_DELETE = do_GET

    def do_POST(self):
        self.has_begun = False
        url = urlsplit(self.path)
        self.args = {}
        for k, v in parse_qsl(url.query, keep_blank_values=True): self.args.setdefault(k, []).append(v)
        name = url.path.removeprefix("/api/v0/")
        self.body = Body(self)
        act = getattr(self, name.replace("/", "_"), None) if url.path.startswith("/api/v0/") and name in COMMANDS else None
        try:
            if act is None: return self.plain(404, "404 page not found\n")
            act()
            if self.has_begun: self.wfile.write(b"0\r\n\r\n")
        except Bad as e: self.error(str(e))
        except (ConnectionError, TimeoutError): self.close_connection = True
        finally:
            if not self.body.ended: self.close_connection = True
            self.wfile.flush()

    # answers

    def plain(self, status, text):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def error(self, message):
        if self.has_begun:      # after the first item an error comes in the trailer
            self.wfile.write(b"0\r\nX-Stream-Error: " + message.encode() + b"\r\n\r\n")
            return
        text = json.dumps({"Message": message, "Code": 0, "Type": "error"}, separators=(",", ":")) + "\n"
        self.send_response(500)
        for k, v in (("Content-Type", "application/json"), ("Content-Length", str(len(text)))): self.send_header(k, v)
        self.end_headers()
        self.wfile.write(text.encode())

    def begin(self, type="application/json"):
        if self.has_begun: return
        self.has_begun = True
        self.send_response(200)
        for k, v in (("Content-Type", type), ("Trailer", "X-Stream-Error"), ("X-Chunked-Output", "1"), ("Transfer-Encoding", "chunked")):
            self.send_header(k, v)
        self.end_headers()

    def item(self, value):
        self.begin()
        text = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))

    def arg(self, name="arg", default=None): return self.args.get(name, [default])[0]
    def flag(self, name, default): return self.arg(name, default) in ("true", "1", "t")

    def cid(self, text):
        """A path argument: a CID, or a path below one."""
        if not text: raise Bad('argument "ipfs-path" is required')
        try: return self.node.resolve(text if text.startswith("/") else "/ipfs/" + text)
        except Bad as e: raise Bad(str(e) if "no link" in str(e) else f"invalid path {json.dumps(text)}: {e}")

    def client_is_there(self):
        """False once the client has closed its side."""
        ready, _, _ = select.select([self.connection], [], [], 0)
        if not ready: return True
        try: return self.connection.recv(1, socket.MSG_PEEK) != b""
        except OSError: return False

    # commands

    def id(self):
        node = self.node
        self.item({
            "ID": node.id, "PublicKey": "", "Addresses": [f"{node.swarm}/p2p/{node.id}"], "AgentVersion": "kubo/0.42.0/",
            "Protocols": ["/ipfs/bitswap/1.2.0", "/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"]})

    def version(self): self.item({"Version": "0.42.0", "Commit": "", "Repo": "18", "System": "amd64/linux", "Golang": "go1.26"})
    def swarm_peers(self): self.item({"Peers": None})
    def swarm_connect(self): raise Bad(f"connect {self.arg('arg', '').split('/')[-1]} failure: no addresses")
    def config_show(self): self.item({"Addresses": {"Swarm": [self.node.swarm]}, "Datastore": {"StorageMax": "10GB"}, "Bootstrap": []})

    def repo_stat(self):
        with self.node.lock: size = sum(map(len, self.node.blocks.values()))
        self.item({"RepoSize": 20000 + size, "StorageMax": 10000000000, "NumObjects": 0, "RepoPath": "", "Version": ""})

    def repo_gc(self):
        self.begin()
        for mh in self.node.collect(): self.item({"Key": {"/": str(CID(1, 0x55, mh))}})

    def resolve(self):
        self.item({"Path": f"/ipfs/{self.node.resolve(self.arg())}"})

    def pin_ls(self):
        node, wanted = self.node, self.arg("type", "all")
        pools = [(t, p) for t, p in (("recursive", node.recursive), ("direct", node.direct)) if wanted in (t, "all")]
        if "arg" in self.args:
            for text in self.args["arg"]:
                key = pin_key(self.cid(text))
                kind = next((t for t, p in pools if key in p), None)
                if kind is None: raise Bad(f"path '{text}' is not pinned")
                self.item({"Cid": key, "Type": kind, "Name": ""})
            return
        self.begin()
        with node.lock: found = [(k, t) for t, p in pools for k in p]
        for k, t in found: self.item({"Cid": k, "Type": t, "Name": ""})

    def pin_add(self):
        node, deep = self.node, self.flag("recursive", "true")
        cid = self.cid(self.arg())
        key, shows = pin_key(cid), self.flag("progress", "false")
        if not deep and key in node.recursive: raise Bad(f"pin: {cid} already pinned recursively")
        told = time.monotonic()
        def progress(count):
            nonlocal told
            if shows and time.monotonic() >= told + 0.5: told = time.monotonic(); self.item({"Progress": count})
            return self.client_is_there()
        count = node.wait_for(cid, deep, progress)
        with node.lock:
            if deep: node.recursive[key] = True; node.direct.pop(key, None)
            elif key not in node.recursive: node.direct[key] = True
        if shows: self.item({"Progress": count})
        self.item({"Pins": [key]})

    def pin_update(self):
        node = self.node
        source, target = (self.cid(a) for a in self.args["arg"][:2])
        if pin_key(source) not in node.recursive: raise Bad("'from' cid was not recursively pinned already")
        node.wait_for(target, True, lambda _: self.client_is_there())
        with node.lock:
            node.recursive[pin_key(target)] = True
            if self.flag("unpin", "true"): del node.recursive[pin_key(source)]
        self.item({"Pins": [f"/ipfs/{source}", f"/ipfs/{target}"]})

    def pin_rm(self):
        node, cid = self.node, self.cid(self.arg())
        key = pin_key(cid)
        with node.lock:
            if node.recursive.pop(key, None) is None and node.direct.pop(key, None) is None:
                raise Bad("not pinned or pinned indirectly")
        self.item({"Pins": [key]})

    def block_get(self):
        cid = self.cid(self.arg())
        self.node.wait_for(cid, False, lambda _: self.client_is_there())
        data = self.node.blocks[cid.multihash]
        self.begin("text/plain; charset=utf-8")
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def block_put(self):
        function, codec = self.arg("mhtype", "sha2-256"), self.arg("cid-codec", "raw")
        if function not in HASHES: raise Bad(f"unknown multihash function {function}")
        if codec not in CODECS: raise Bad(f"unknown codec {codec}")
        boundary = self.headers.get("Content-Type", "").partition("boundary=")[2].strip('"')
        for data in parts(self.body, b"--" + boundary.encode()):
            if len(data) > 1 << 20 and not self.flag("allow-big-block", "false"): raise Bad("produced block is over 1MiB")
            cid = CID(1, CODECS[codec], self.node.put(data, function, int(self.arg("mhlen", "-1"))))
            if codec == "dag-pb" and function == "sha2-256" and self.arg("format") == "v0": cid.version = 0
            self.item({"Key": str(cid), "Size": len(data)})

COMMANDS = {
    "id", "version", "swarm/peers", "swarm/connect", "config/show", "repo/stat", "repo/gc", "resolve", "pin/ls", "pin/add", "pin/update",
    "pin/rm", "block/get", "block/put"}

class Body:
    """The request's body, piece by piece."""
    def __init__(self, handler):
        self.file = handler.rfile
        self.chunked = "chunked" in handler.headers.get("Transfer-Encoding", "")
        self.left = int(handler.headers.get("Content-Length") or 0)
        self.ended = not self.chunked and self.left == 0

    def read(self):
        """Some bytes; none at the end."""
        if self.ended: return b""
        if not self.chunked:
            data = self.file.read1(min(self.left, 1 << 16))
            self.left -= len(data)
            self.ended = self.left == 0
            if not data: raise ConnectionError()
            return data
        line = self.file.readline()
        if not line: raise ConnectionError()
        count = int(line.split(b";")[0], 16)
        data = self.file.read(count)
        self.file.readline()
        self.ended = count == 0
        return data

def parts(body, dashes):
    """The bodies of a form's parts, each as soon as it is whole."""
    held, mark = b"\r\n", b"\r\n" + dashes
    start = None                                        # of the current part's bytes; None before its header
    while True:
        end = held.find(mark)
        if end < 0 or len(held) < end + len(mark) + 2:
            more = body.read()
            if not more: raise Bad("multipart: NextPart: EOF")
            held += more
            continue
        if start is not None: yield held[:end].partition(b"\r\n\r\n")[2]
        held = held[end + len(mark):]
        if held.startswith(b"--"):
            while body.read(): pass
            return
        start = 0

class Server(ThreadingHTTPServer):
    daemon_threads, allow_reuse_address, request_queue_size = True, True, 128
    def handle_error(self, *a):
        if not isinstance(sys.exc_info()[1], ConnectionError): super().handle_error(*a)

def main():
    if len(sys.argv) not in (2, 3): sys.exit(__doc__)
    host, _, port = sys.argv[1].rpartition(":")
    Handler.node = Node(sys.argv[2] if len(sys.argv) == 3 else "0", host, int(port) + 1)
    Server((host, int(port)), Handler).serve_forever()

if __name__ == "__main__": main()
