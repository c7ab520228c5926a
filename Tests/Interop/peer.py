"""A peer of the cluster as its users run it: ipfs-cluster-service in a folder, and ipfs-cluster-ctl against it."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import time
import urllib.request


class Peer:
    def __init__(self, programs, folder, secret, swarm_port, api_port, log_levels="info", host="/ip4/127.0.0.1", top=""):
        """`top` is what it speaks on top of TCP: "/ws", or nothing."""
        self.service = os.path.join(programs, "ipfs-cluster-service")
        self.ctl_path = os.path.join(programs, "ipfs-cluster-ctl")
        self.folder = folder
        self.log_path = folder + ".log"
        self.port = swarm_port
        self.host = host
        self.top = top
        self.api = f"/ip4/127.0.0.1/tcp/{api_port}"
        self.url = f"http://127.0.0.1:{api_port}"
        self.log_levels = log_levels
        self.process = None
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CLUSTER_", "IPFS_CLUSTER"))},
            "CLUSTER_SECRET": secret,
            "CLUSTER_PEERNAME": "interop",
            "CLUSTER_LISTENMULTIADDRESS": f"{host}/tcp/{swarm_port}{top}",
            "CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS": self.api,
            "CLUSTER_PUBSUB_HEARTBEATINTERVAL": "1s",
            "CLUSTER_MONITORPINGINTERVAL": "2s",
        }
        made = subprocess.run(
            [self.service, "-c", folder, "init", "--embedded-ipfs"], env=self.environment, capture_output=True, text=True)
        if made.returncode != 0:
            raise AssertionError(f"ipfs-cluster-service init: {made.stderr}{made.stdout}")
        self.id = read_identity(folder)["id"]

    @property
    def address(self):
        return f"{self.host}/tcp/{self.port}{self.top}/p2p/{self.id}"

    def start(self, *known):
        """`known` are addresses for its peerstore."""
        with open(os.path.join(self.folder, "peerstore"), "w") as file:
            file.writelines(address + "\n" for address in known)
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(
                [self.service, "-c", self.folder, "-l", self.log_levels, "daemon"], env=self.environment, stdout=log,
                stderr=subprocess.STDOUT)
        wait("the REST API answers", self.is_healthy)

    def is_healthy(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the peer ended with code {self.process.returncode}:\n{self.log()[-3000:]}")
        try:
            return self.get("/id")["id"] == self.id
        except OSError:
            return False

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:
            lines = [json.loads(line) for line in answer.read().splitlines() if line]
        return lines[0] if len(lines) == 1 else lines

    def pin_status(self, cid):
        """What it says of itself; None if it does not know the pin."""
        return self.get(f"/pins/{cid}")["peer_map"].get(self.id, {}).get("status")

    def ctl(self, *arguments, limit=30):
        done = subprocess.run(
            [self.ctl_path, "--host", self.api, *arguments], env=self.environment, capture_output=True,
            text=True, timeout=limit)
        if done.returncode != 0:
            raise AssertionError(f"ipfs-cluster-ctl {arguments}: code {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout

    def trade(self, node, size):
        """`size` bytes that are added here and read by a Kubo, and as many the other way round, which are pinned."""
        path = os.path.join(node.folder, "ours")
        data = write_file(path, size)
        cid = self.ctl("add", "-Q", path).strip()
        node.patiently(self, "download", cid, path + ".back")
        assert read_file(path + ".back") == data, f"{node.name} reads {cid} otherwise than it was added"
        path = os.path.join(node.folder, "theirs")
        write_file(path, size)
        cid = node.call("add", path)
        self.ctl("pin", "add", "--wait", "--wait-timeout", "30s", cid, limit=40)
        status = self.pin_status(cid)
        assert status == "pinned", f"our cluster says of it: {status}"

    def finds_again(self, node):
        """A Kubo that it has dialled is killed, and comes back."""
        node.kill()
        wait("we see Kubo gone", lambda: re.search(f"connection to {node.id} .*ended", self.log()))
        node.restart()
        wait("we are connected again", lambda: self.id in node.call("peers"), 20)

    def log(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()

    def memory(self):
        """Resident, in MiB."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1)) / 1024

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=15)

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def free_ports(count):
    """Ports that nobody has at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def read_identity(folder):
    with open(os.path.join(folder, "identity.json")) as file:
        return json.load(file)


def wait(what, condition, limit=15.0):
    """What `condition` returns once that is not empty or false."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit:g} s: {what}")
        time.sleep(0.05)


def write_file(path, size):
    data = random.randbytes(size)
    with open(path, "wb") as file:
        file.write(data)
    return data


def read_file(path):
    with open(path, "rb") as file:
        return file.read()
