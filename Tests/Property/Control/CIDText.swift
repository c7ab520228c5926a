import Encoding
import Kernel
import Multiformats
import TestSupport

enum CIDText {
    static func cid(_ text: String) -> CID {
        do { return try CID(text: text) } catch { fatalError("\(text): \(error)") }
    }
    static func status(_ cid: String, _ status: String, peer: String = "$PEER0") -> String {
        let entry = "{\"peername\":\"peer0\",\"status\":\"\(status)\",\"timestamp\":\"2026-11-24T00:39:10Z\"}"
        return "{\"cid\":\"\(cid)\",\"peer_map\":{\"\(RecordedCase.named(peer))\":\(entry)}}\n"
    }
    /// The recorded graph of the cluster that a case belongs to.
    static func graph(_ id: String) -> String {
        let cluster = id.split(separator: "-")[1]
        do {
            let exchange = try Golden.lines("rest/exchanges.ndjson").first {
                $0["cluster"]?.text == String(cluster) && $0["request"]?["path"]?.text == "/health/graph"
            }
            return RecordedCase.named(exchange?["response"]?["body"]?.text ?? "")
        } catch { fatalError("\(error)") }
    }
}

extension JSON {
    var members: [Member] { if case .object(let members) = self { members } else { [] } }
}
