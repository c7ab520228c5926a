// dnsaddr: names that lead to addresses, to names, and in circles; and a name server that is asked for them. DNS-02..06.

import Discovery
import Glibc
import Kernel
import Multiformats
import RealNet
import Seams
import Testing
import Transport

private let a = "/p2p/12D3KooWSaoayBU6rVZSPpcNCEDE984aJ3psyaYbfHQqUfpmiMdv"
private let b = "/p2p/12D3KooWSek8FhN3tyhmcKKdPSYAfxQQxAniZregJexSsFmwjELj"

private func multiaddr(_ text: String) -> Multiaddr {
    guard let address = try? Multiaddr(text: text) else { fatalError("not a multiaddress: \(text)") }
    return address
}

private func names(_ zone: [String: [String]]) -> NamedAddresses {
    NamedAddresses { name in
        zone[name].map { .success($0.map { Bytes($0.utf8) }) } ?? .failure(ResolutionFailure(reason: "lookup \(name): no such host"))
    }
}

private func resolved(_ address: String, _ zone: [String: [String]]) -> [String] {
    switch names(zone).resolved(multiaddr(address)) {
    case .success(let found): found.map(\.description)
    case .failure(let failure): [failure.reason]
    }
}

@Suite struct NamedAddressesTests {
    @Test func recordsThatCountAreTaken() {
        let zone = ["_dnsaddr.x.test": [
            "dnsaddr=/ip4/1.1.1.1/tcp/1\(a)", "dnsaddr=/dns4/y.test/tcp/2\(b)", "dnsaddr=nonsense", "v=spf1", "dnsaddr=", "dnsaddr=/ip4/2.2.2.2/tcp/3",
        ]]
        #expect(resolved("/dnsaddr/x.test", zone) == ["/ip4/1.1.1.1/tcp/1\(a)", "/dns4/y.test/tcp/2\(b)", "/ip4/2.2.2.2/tcp/3"])
        #expect(resolved("/dnsaddr/x.test\(b)", zone) == ["/dns4/y.test/tcp/2\(b)"])
        #expect(resolved("/ip4/9.9.9.9/tcp/1", zone) == ["/ip4/9.9.9.9/tcp/1"])
        #expect(resolved("/dnsaddr/z.test", zone) == ["lookup _dnsaddr.z.test: no such host"])
    }

    @Test func namesLeadToNamesAndNotForEver() {
        func link(_ from: Int, _ to: Int) -> (String, [String]) { ("_dnsaddr.n\(from)", ["dnsaddr=/dnsaddr/n\(to)\(a)", "dnsaddr=/ip4/1.1.1.\(from)/tcp/1\(a)"]) }
        let chain = Dictionary(uniqueKeysWithValues: (1...9).map { link($0, $0 + 1) })
        #expect(resolved("/dnsaddr/n1\(a)", chain) == (1...4).map { "/ip4/1.1.1.\($0)/tcp/1\(a)" })
        let circle = Dictionary(uniqueKeysWithValues: [link(1, 2), link(2, 1)])
        #expect(resolved("/dnsaddr/n1\(a)", circle) == ["/ip4/1.1.1.1/tcp/1\(a)", "/ip4/1.1.1.2/tcp/1\(a)"])
        // A fault further on takes nothing away; and there is an end to what is taken.
        let many = ["_dnsaddr.m": (0..<300).map { "dnsaddr=/ip4/1.1.\($0 / 256).\($0 % 256)/tcp/1" } + ["dnsaddr=/dnsaddr/gone"]]
        #expect(resolved("/dnsaddr/m", many).count == 100)
        #expect(resolved("/dnsaddr/q", ["_dnsaddr.q": ["dnsaddr=/dnsaddr/gone", "dnsaddr=/ip4/1.1.1.1/tcp/1"]]) == ["/ip4/1.1.1.1/tcp/1"])
    }

    /// A host is reached by its name, which says what carries the stream.
    @Test(arguments: ["", "/ws"])
    func namesAreDialled(_ top: String) throws {
        let loop = EventLoop()
        let keys = try (1...2).map { try IdentityKey(seed: Bytes(repeating: UInt8($0), count: 32)) }
        let server = HostRunner(loop: loop, host: Host(key: keys[0], networkKey: nil, protocols: []))
        let at = try server.listen(on: multiaddr("/ip4/127.0.0.1/tcp/0\(top)"))[0]
        #expect(at.description.hasSuffix(top))
        let zone = ["_dnsaddr.x.test": ["dnsaddr=\(at.with(peer: keys[1].peerID))", "dnsaddr=\(at.with(peer: keys[0].peerID))"]]
        let client = HostRunner(loop: loop, host: Host(key: keys[1], networkKey: nil, protocols: []), names: names(zone))
        var told: [ConnectionEvent] = []
        client.onEvent = { effect in
            guard case .connection(let event) = effect else { return }
            told.append(event)
            if told.count == 1 {
                client.run { $0.onEffect(.dial(keys[0].peerID, [multiaddr("/dnsaddr/y.test")]), now: Machine.now, effects: &$1) }
            } else { loop.stop() }
        }
        client.run { $0.onEffect(.dial(keys[0].peerID, [multiaddr("/dnsaddr/x.test")]), now: Machine.now, effects: &$1) }
        loop.after(.seconds(20)) { loop.stop() }
        loop.run()
        #expect(told.first == .connected(keys[0].peerID, address: multiaddr("/dnsaddr/x.test"), outbound: true))
        client.close()
        server.close()
    }

    /// The system's resolver, and a name server that answers once.
    @Test func aNameServerIsAsked() throws {
        let file = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        defer { close(file) }
        let address = try #require(SocketAddress(numeric: "127.0.0.1", port: 0))
        let bound = address.bind(file)
        let port = try #require(bound)
        Worker().run {
            for _ in 0..<2 {
                var question = Bytes(repeating: 0, count: 1500)
                var from = sockaddr_storage()
                var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
                let count = withUnsafeMutablePointer(to: &from) {
                    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { recvfrom(file, &question, question.count, 0, $0, &length) }
                }
                guard count > 12, let asked = try? DNSMessage(decoding: Bytes(question[..<count])), let name = asked.questions.first?.name else { return }
                var reply = DNSMessage(isResponse: true)
                reply.questions = asked.questions
                if name == DNSName("_dnsaddr.x.test") {
                    reply.answers = [DNSMessage.Record(name: name, data: .text([Bytes("dnsaddr=/ip4/1.1.1.1".utf8), Bytes("/tcp/1".utf8)]), lifetime: 1)]
                }
                var bytes = reply.encoded
                (bytes[0], bytes[1]) = (question[0], question[1])
                if reply.answers.isEmpty { bytes[3] = 3 }  // no such name
                _ = withUnsafePointer(to: &from) {
                    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { sendto(file, bytes, bytes.count, 0, $0, length) }
                }
            }
        }
        let names = NamedAddresses { NamedAddresses.texts(of: $0, server: ("127.0.0.1", port)) }
        #expect(try names.resolved(multiaddr("/dnsaddr/x.test")).get() == [multiaddr("/ip4/1.1.1.1/tcp/1")])
        guard case .failure(let failure) = names.resolved(multiaddr("/dnsaddr/gone.test")) else { Issue.record("no failure"); return }
        #expect(failure.reason == "lookup _dnsaddr.gone.test: no such host")
    }
}
