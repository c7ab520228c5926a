// A peer's pinset in a few words, so that anyone can see whether all peers hold the same one.

import Encoding
import Kernel

package struct PinsetSummary: Hashable, Sendable {
    /// The same for equal pinsets, whatever way led there.
    package var digest: String
    package var pins: Int
    /// Unset where nothing has changed since the peer was started.
    package var lastChange: WallTime
    package init(digest: String, pins: Int, lastChange: WallTime) {
        self.digest = digest
        self.pins = pins
        self.lastChange = lastChange
    }
}

extension PinsetSummary: JSONCodable {
    package var json: JSON {
        .object([.init("digest", digest), .init("pins", pins), .init("last_change", lastChange)])
    }
    package init(json: JSON) throws(FormError) {
        let json = try json.object("a pinset's summary")
        self.init(digest: try json.require("digest"), pins: try json.require("pins"), lastChange: .unset)
        try json.read("last_change", into: &lastChange)
    }
}

extension PinsetSummary: MessagePackCodable {
    package func write(to writer: inout MessagePackWriter) {
        var map = MapWriter()
        map.string("d", digest)
        map.int("n", pins)
        map.time("t", lastChange)
        map.write(to: &writer)
    }
    package init(reading reader: inout MessagePackReader) throws {
        self.init(digest: "", pins: 0, lastChange: .unset)
        try reader.members { key, reader in
            switch key {
            case "d": digest = try reader.string()
            case "n": pins = Int(clamping: try reader.int())
            case "t": lastChange = try reader.time()
            default: return false
            }
            return true
        }
    }
}
