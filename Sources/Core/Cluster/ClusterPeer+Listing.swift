// Listing pins to a client, one chunk at a time: a listing holds a bit for each pin, shared with the pinset until that changes.

import Kernel
import MerkleCRDT
import Multiformats
import Pinset
import Seams
import Storage

package struct ListingSettings: Sendable {
    /// The log that is read for a chunk, in bytes: a step is not to keep everyone else waiting, whatever lets itself be listed.
    package var bytesPerChunk = 256 << 10
    /// Pins whose statuses are told in one chunk.
    package var statusesPerChunk = 250
    package init() {}
}

extension ClusterPeer {
    /// The pinset as it was when the listing began, and where to go on in the order of the log.
    struct Listing: Sendable {
        let live: LiveMap
        /// A bit for each type: asking a set would cost a tenth of the time.
        private let types: UInt64
        var cursor: LogAddress?
        /// Pins that were looked at.
        var count = 0

        init(types: Set<PinType>, live: LiveMap) {
            self.live = live
            self.types = PinType.allCases.filter(types.contains).reduce(0) { $0 | $1.rawValue }
        }
        func wants(_ type: PinType) -> Bool { types & type.rawValue != 0 }
    }

    package var listingCount: Int { pinListings.count }

    mutating func beginListing(_ client: ClientID, _ types: Set<PinType>) {
        pinListings[client] = Listing(types: types, live: replica.live)
        continueListing(client)
    }

    /// A chunk for whoever can take one. It may be empty; the last one is followed by the end.
    mutating func continueListing(_ client: ClientID) {
        guard var listing = pinListings.remove(client) else { return }  // it has ended before
        guard phase == .awaitingIPFS || phase == .ready else { return reply(client, .failure(Self.shutdownRefusal)) }
        guard replica.isOpen else { return reply(client, .failure(Self.opening(replica))) }
        var pins = StoredPins()
        do { try fill(&pins, &listing) } catch {
            return reply(client, .failure(ClientFailure("the pinset cannot be read: \(error)")))
        }
        if listing.cursor == nil {
            if listing.count >= Self.manyPins { inform("dsstate", "Full pinset listing finished: \(listing.count) pins") }
            reply(client, .success(pins.isEmpty ? [] : [.pins(pins)]))
        } else {
            turn.effects.append(.reply(client, .item(.pins(pins))))
            pinListings[client] = listing
        }
    }

    private static let manyPins = 500_000

    /// What changes meanwhile is shown as it was: nothing is missing, nothing comes twice.
    private mutating func fill(_ pins: inout StoredPins, _ listing: inout Listing) throws {
        var damages: [LogDamage] = []
        let before = listing.count
        var count = before
        listing.cursor = try replica.scan(from: listing.cursor, bytes: settings.listing.bytesPerChunk, among: listing.live, damages: &damages) { [listing] item in
            count += 1
            if item.isDerived, let parts = PinParts(item.value) {
                if listing.wants(parts.type) { pins.append(item.value) }
            } else if let cid = CID(stateKey: item.key), let pin = try? Pin(protobuf: item.value, cid: cid), listing.wants(pin.type) {
                // A value that names its own CID goes as it is; one of another form is written anew (PIN-12).
                if item.isDerived { pins.append(item.value) } else { pins.append(pin) }
            }
        }
        if let damage = damages.first {
            mend(damage)
            throw LogError.damaged(damage)
        }
        listing.count = count
        if count / Self.manyPins > before / Self.manyPins { inform("dsstate", "Full pinset listing in progress: \(count) pins so far") }
    }
}
