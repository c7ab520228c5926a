// dnsaddr: addresses that stand in TXT records of the DNS. spec/wire-transport.md DNS-02..06.

import CResolver
import Discovery
import Kernel
import Multiformats

package struct NamedAddresses: Sendable {
    /// The texts of a name, or why there are none.
    package typealias Lookup = @Sendable (_ name: String) -> Result<[Bytes], ResolutionFailure>
    private let lookup: Lookup
    /// DNS-04.
    private static let depthMax = 4
    private static let addressesMax = 100

    package init(lookup: @escaping Lookup = { NamedAddresses.texts(of: $0) }) { self.lookup = lookup }

    /// What an address that begins with dnsaddr stands for, as far as names lead to names; any other stands for itself. Blocks.
    package func resolved(_ address: Multiaddr) -> Result<[Multiaddr], ResolutionFailure> {
        var (found, seen) = ([Multiaddr](), Set<Multiaddr>())
        var open = [address]
        for depth in 0...Self.depthMax where !open.isEmpty {
            var next: [Multiaddr] = []
            for address in open where found.count + next.count < Self.addressesMax && seen.insert(address).inserted {
                guard address.isDNSAddr else { found.append(address); continue }
                guard depth < Self.depthMax else { continue }
                switch step(address) {
                case .success(let addresses): next += addresses.prefix(Self.addressesMax - found.count - next.count)
                case .failure(let failure): if depth == 0 { return .failure(failure) }
                }
            }
            open = next
        }
        return .success(found)
    }

    /// One name's records, of which those count that end as the address does (DNS-03).
    private func step(_ address: Multiaddr) -> Result<[Multiaddr], ResolutionFailure> {
        let parts = address.components
        guard let name = parts.first?.text else { return .success([]) }
        let suffix = Array(parts.dropFirst())
        return lookup("_dnsaddr." + name).map { texts in
            texts.compactMap { text in
                guard text.starts(with: Self.prefix), let words = String(validating: text.dropFirst(Self.prefix.count), as: UTF8.self),
                    let found = try? Multiaddr(text: words), found.components.suffix(suffix.count) == suffix[...]
                else { return nil }
                return found
            }
        }
    }

    private static let prefix = Bytes("dnsaddr=".utf8)

    // MARK: The DNS

    /// As the system resolves names, or as one name server does.
    package static func texts(of name: String, server: (ip: String, port: UInt16)? = nil) -> Result<[Bytes], ResolutionFailure> {
        var answer = Bytes(repeating: 0, count: 65_536)
        let count = query_texts(name, server?.ip, server?.port ?? 0, &answer, Int32(answer.count))
        guard count >= 0 else { return .failure(ResolutionFailure(reason: "lookup \(name): \(fault(-count))")) }
        do throws(DNSError) {
            let message = try DNSMessage(decoding: Bytes(answer[..<min(Int(count), answer.count)]))
            // A record's strings are one text, as for Go's resolver.
            return .success(message.answers.compactMap { if case .text(let strings) = $0.data { strings.reduce([], +) } else { nil } })
        } catch { return .failure(ResolutionFailure(reason: "lookup \(name): the answer cannot be read: \(error)")) }
    }

    /// In Go's words where it has some.
    private static func fault(_ code: Int32) -> String {
        switch code {
        case 1, 4: "no such host"  // HOST_NOT_FOUND, NO_DATA
        case 2: "server misbehaving"  // TRY_AGAIN
        default: "the name server does not answer"
        }
    }
}

extension Multiaddr {
    package var isDNSAddr: Bool { components.first?.scheme.name == "dnsaddr" }
}
