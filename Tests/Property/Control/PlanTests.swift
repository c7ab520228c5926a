// Command lines and what is asked because of them; wrong ones, and help. CLI-001..010, CLI-084..130.

import Encoding
import HTTP
import Kernel
import Multiformats
import TestSupport
import Testing

@testable import ControlCommands

private let cid0 = "QmPuZphuHr1VafDeGGa8fsP2EbkpDFE7W6UzasYzTxiETr"
private let cid1 = "bafkreiaormrt7gcckbwbuhno7waexnodzs5ykgw2jsjchzgykevywpuniy"
private let peer = RecordedCase.named("$PEER0")
private let options = "mode=recursive&name=&replication-max=0&replication-min=0&shard-size=0&user-allocations="

@Suite struct PlanTests {
    @Test(arguments: [
        (["id"], "GET /id"), (["peers", "ls"], "GET /peers"), (["peers", "rm", peer], "DELETE /peers/\(peer)"),
        (["id", "--pinset"], "GET /id?pinset=true"), (["peers", "ls", "--pinset"], "GET /peers?pinset=true"),
        (["state", "digest"], "GET /peers?pinset=true"),
        (["version"], "GET /version"), (["health", "graph"], "GET /health/graph"),
        (["health", "metrics"], "GET /monitor/metrics"), (["health", "metrics", "tag:a b"], "GET /monitor/metrics/tag:a%20b"),
        (["health", "alerts"], "GET /health/alerts"), (["health", "bandwidth"], "GET /health/bandwidth"),
        (["ipfs", "gc"], "POST /ipfs/gc?local=false"), (["ipfs", "gc", "--local"], "POST /ipfs/gc?local=true"),
        (["pin", "ls"], "GET /allocations?filter=all"), (["pin", "ls", cid0], "GET /allocations/\(cid0)"),
        (["pin", "ls", "--filter", "shard-pin,pin"], "GET /allocations?filter=pin,shard-pin"),
        (["pin", "ls", "--filter", "bogus"], "GET /allocations?filter="),
        (["pin", "ls", "--filter", "pin,meta-pin,clusterdag-pin,shard-pin"], "GET /allocations?filter=all"),
        (["pin", "ls", "--filter", "all,bogus"], "GET /allocations?filter=pin,meta-pin,clusterdag-pin,shard-pin"),
        (["status"], "GET /pins?local=false&filter=&cids="),
        (["status", "--local", "--filter", "pinned"], "GET /pins?local=true&filter=pinned&cids="),
        (["status", "--filter", "error"], "GET /pins?local=false&filter=error&cids="),
        (["status", cid0], "GET /pins/\(cid0)?local=false"),
        (["status", cid0, cid1, "--filter", "pinned"], "GET /pins?local=false&filter=&cids=\(cid0),\(cid1)"),
        (["recover"], "POST /pins/recover?local=false"), (["recover", "--local", cid0], "POST /pins/recover?local=false"),
        (["recover", cid0, "--local"], "POST /pins/\(cid0)/recover?local=true"),
        (["pin", "add", cid0], "POST /pins/ipfs/\(cid0)?\(options)"),
        (["pin", "add", "/ipns/example.org/a b"], "POST /pins/ipns/example.org/a%20b?\(options)"),
        (["pin", "add", "/ipfs/\(cid0)/100%/%41?"], "POST /pins/ipfs/\(cid0)/100%25/%41%3F?\(options)"),
        (["pin", "rm", cid0], "DELETE /pins/ipfs/\(cid0)"), (["pin", "rm", "/ipld/\(cid0)/x"], "DELETE /pins/ipld/\(cid0)/x"),
        (["pin", "add", "-r", "3", "--rmin", "1", "--rmax", "2", cid0],
         "POST /pins/ipfs/\(cid0)?\(options.replacing("max=0", with: "max=3").replacing("min=0", with: "min=3"))"),
        (["pin", "add", "--mode", "direct", "--metadata", "a=b=c", "--metadata", "=x", "--expire-in", "1h", "--allocs", " \(peer) ", cid0],
         "POST /pins/ipfs/\(cid0)?expire-at=2026-11-24T01%3A39%3A10Z&meta-a=b%3Dc&mode=direct&name=&replication-max=0"
            + "&replication-min=0&shard-size=0&user-allocations=\(peer)"),
        (["pin", "update", "-n", "x", cid1, cid0],
         "POST /pins/ipfs/\(cid0)?" + options.replacing("name=", with: "name=x&pin-update=\(cid1)")),
    ])
    func asks(_ words: [String], _ request: String) throws {
        let isSwallowed = words == ["recover", "--local", cid0]  // CLI-003: the word after a boolean flag ends the flags
        let world = ScriptedWorld { _ in ScriptedAnswer(404, #"{"code":404,"message":"no"}"#) }
        world.now = WallTime(seconds: 1_795_480_750)
        _ = ControlProgram(world: world).run(words)
        let seen = try #require(world.seen.first?.request)
        if isSwallowed {
            #expect("\(seen.method) \(seen.target)" == "POST /pins/\(cid0)/recover?local=true")
        } else {
            #expect("\(seen.method) \(seen.target)" == request)
        }
    }

    @Test(arguments: [
        (["status", "--filter", "bogus"], "error parsing filter flag: invalid filter name\n"),
        (["pin", "add", "--allocations", "\(peer),x", cid0], "error decoding allocations: some peer IDs could not be decoded\n"),
        (["add", "--metadata", "k", "x"], "error parsing metadata: metadata were not in the format key=value\n"),
        (["add", "--nocopy", "x"], "error : nocopy option is only valid for URLs\n"),
        (["--secret", "abc", "id"], "error parsing secret: encoding/hex: odd length hex string\n"),
        (["--host", "/ip4/1.2.3.4/tcp/x", "id"], "error parsing host multiaddress: failed to parse multiaddr \"/ip4/1.2.3.4/tcp/x\": "
            + "invalid value \"x\" for protocol tcp: failed to parse port addr: strconv.ParseUint: parsing \"x\": invalid syntax\n"),
        (["--host", "/dns4/nowhere/tcp/1", "id"], "error creating configs: lookup nowhere: no such host\n"),
        (["--host", "bogus"], "error parsing host multiaddress: failed to parse multiaddr \"bogus\": must begin with /\n"),
    ])
    func refuses(_ words: [String], _ text: String) {
        let world = ScriptedWorld { _ in ScriptedAnswer(500) }
        #expect(ControlProgram(world: world).run(words) == 1)
        #expect(world.stderr == text)
        #expect(world.seen.isEmpty && world.stdout.isEmpty)
    }

    @Test(arguments: [
        (["--bogus"], "Incorrect Usage. flag provided but not defined: -bogus"),
        (["-t", "x", "id"], "Incorrect Usage. invalid value \"x\" for flag -t: parse error"),
        (["pin", "ls", "--enc", "json"], "Incorrect Usage: flag provided but not defined: -enc"),
        (["pin", "add", "--wt", "5", cid0], "Incorrect Usage: invalid value \"5\" for flag -wt: parse error"),
        (["add", "--name"], "Incorrect Usage: flag needs an argument: -name"),
    ])
    func saysWhatIsWrongWithUsage(_ words: [String], _ line: String) {
        let world = ScriptedWorld { _ in ScriptedAnswer(500) }
        #expect(ControlProgram(world: world).run(words) == 1)
        #expect(world.stdout.hasPrefix(line + "\n\nNAME:\n"))
        #expect(world.seen.isEmpty)
    }

    @Test func helpIsThereOnEveryLevelAndNarrow() {
        var names = ["ipfs-cluster-ctl"]
        names += ControlCommand.fullNames.filter { !$0.hasSuffix(" help") }
        for name in names {
            let world = ScriptedWorld { _ in ScriptedAnswer(500) }
            let exit = ControlProgram(world: world).run(name.split(separator: " ").dropFirst().map(String.init) + ["--help"])
            #expect(exit == 0)
            #expect(world.stdout.hasPrefix("NAME:\n   \(name) - "))
            for line in world.stdout.split(separator: "\n") { #expect(line.count <= 120, "\(name): \(line)") }
        }
    }

    @Test func listsItsCommands() {
        let world = ScriptedWorld { _ in ScriptedAnswer(500) }
        #expect(world.run("commands") == 0)
        let names = [
            "id", "peers", "peers ls", "peers rm", "add", "pin", "pin add", "pin rm", "pin update", "pin ls", "status", "recover",
            "version", "health", "health graph", "health metrics", "health alerts", "health bandwidth", "state", "state digest",
            "ipfs", "ipfs gc",
            "commands", "help",
        ]
        #expect(world.stdout == names.map { "ipfs-cluster-ctl \($0)\n" }.joined())
    }
}

@Suite struct HostTests {
    private func endpoints(_ words: String..., names: [String: [String]] = [:], environment: [String: String] = [:])
        -> [ScriptedWorld.Seen]
    {
        let world = ScriptedWorld { _ in .failing("no") }
        (world.names, world.environment) = (names, environment)
        #expect(ControlProgram(world: world).run(words + ["version"]) == 1)
        return world.seen
    }

    @Test func everyHostIsTriedInTurn() {
        let seen = endpoints(
            "--host", "/ip4/1.2.3.4/tcp/5,/dns4/here/tcp/6,/unix/run/api.sock",
            names: ["here": ["/ip4/7.7.7.7/tcp/6", "/ip6/::1/tcp/6"]])
        #expect(seen.map(\.endpoint.authority) == ["1.2.3.4:5", "7.7.7.7:6", "[::1]:6", "restapi"])
        #expect(seen.map { $0.request.headers["Host"] } == seen.map(\.endpoint.authority))
        #expect(seen[3].endpoint.place == .unix(path: "/run/api.sock"))
    }

    @Test func aNameWithoutAddressesIsRefused() {
        let world = ScriptedWorld { _ in ScriptedAnswer(200) }
        world.names["void"] = []
        #expect(world.run("-l", "/dns/void/tcp/1", "version") == 1)
        #expect(world.stderr == "error creating configs: /dns/void/tcp/1 stands for no address\n")
    }

    @Test func theSystemKnowsItself() throws {
        struct NoTransport: Error {}
        let world = SystemWorld { _ in throw NoTransport() }
        let found = try world.resolve(Multiaddr(text: "/dns4/localhost/tcp/9094"))
        #expect(found.map(\.description) == ["/ip4/127.0.0.1/tcp/9094"])
        let address = try Multiaddr(text: "/dnsaddr/example.org")
        #expect(try world.resolve(address) == [address])
        let names = SystemWorld(named: { _ in [try Multiaddr(text: "/dns4/localhost/tcp/1"), try Multiaddr(text: "/ip4/1.1.1.1/tcp/2")] }) { _ in
            throw NoTransport()
        }
        #expect(try names.resolve(address).map(\.description) == ["/ip4/127.0.0.1/tcp/1", "/ip4/1.1.1.1/tcp/2"])
        #expect(throws: ControlFault.self) { try world.resolve(Multiaddr(text: "/dns4/nothing.invalid/tcp/1")) }
        #expect(world.now.seconds > 1_700_000_000 && world.entropy(30) != world.entropy(30))
    }

    @Test func aNameUnderTLSIsKept() {
        let seen = endpoints("--https", "--no-check-certificate", "-t", "3", "--host", "/dns/here/tcp/443")
        let wanted = APIEndpoint(place: .tcp(host: "here", port: 443), tls: .unchecked, timeout: .seconds(3))
        #expect(seen.map(\.endpoint) == [wanted])
    }

    @Test func credentialsBringTLSUnlessForced() {
        let basic = "Basic YWxpY2U6d29uZGVyOmxhbmQ="
        let seen = endpoints("--basic-auth", "alice:wonder:land")
        #expect(seen.map { $0.request.headers["Authorization"] } == [basic])
        #expect(seen[0].endpoint.tls == .checked)
        let forced = endpoints("-f", environment: ["CLUSTER_CREDENTIALS": "alice:wonder:land"])
        #expect(forced[0].request.headers["Authorization"] == basic)
        #expect(forced[0].endpoint.tls == nil)
        #expect(endpoints()[0].request.headers["Authorization"] == nil)
    }

    @Test func aPeerAddressGoesOverLibp2p() throws {
        let address = try Multiaddr(text: "/ip4/1.2.3.4/tcp/9096/p2p/\(peer)")
        let seen = endpoints("--https", "--secret", String(repeating: "00ff", count: 16), "--host", address.description)
        let secret = (0..<16).flatMap { _ in [0, 255] as Bytes }
        #expect(seen.map(\.endpoint) == [APIEndpoint(place: .libp2p(address, secret: secret))])
    }

    /// CLI-085.
    @Test func aSecretHas32Bytes() {
        let world = ScriptedWorld { _ in ScriptedAnswer(204) }
        #expect(world.run("--secret", "00ff", "--host", "/ip4/1.2.3.4/tcp/9096/p2p/\(peer)", "id") == 1)
        #expect(world.stderr == "error creating API client: length of ProtectorKey should be 32\n" && world.seen.isEmpty)
        _ = world.run("--secret", "00ff", "id")
        #expect(world.seen.count == 1, "it is for libp2p only")
    }
}
