// The vocabulary as the JSON of the REST API. spec/rest-api.md REST-123..197.

import Encoding
import Kernel
import Multiformats

/// What a JSON value or a query is not.
package struct FormError: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
    func at(_ member: String) -> FormError { FormError("\(member): \(description)") }
}

package protocol JSONCodable: Sendable {
    var json: JSON { get }
    init(json: JSON) throws(FormError)
}

extension JSONCodable {
    /// Exactly one document.
    package init(jsonText: some Sequence<UInt8>) throws(FormError) {
        let json: JSON
        do { json = try JSONReader.parse(jsonText) } catch { throw FormError("\(error)") }
        try self.init(json: json)
    }
}

// MARK: Members

extension JSON.Member {
    /// Nil is written as null.
    init(_ name: String, _ value: (some JSONCodable)?) { self.init(name, value?.json ?? .null) }
}

extension JSON {
    /// Names match without regard to case, unknown ones are ignored (REST-197).
    func object(_ what: String) throws(FormError) -> JSON {
        guard case .object = self else { throw FormError("\(what) must be an object") }
        return self
    }
    /// An absent or null member leaves the value as it is, as Go's decoder does.
    func read<T: JSONCodable>(_ name: String, into value: inout T) throws(FormError) {
        guard let member = self[name], member != .null else { return }
        do { value = try T(json: member) } catch { throw error.at(name) }
    }
    func read<T: JSONCodable>(_ name: String, into value: inout T?) throws(FormError) {
        guard let member = self[name], member != .null else { return }
        do { value = try T(json: member) } catch { throw error.at(name) }
    }
    func require<T: JSONCodable>(_ name: String) throws(FormError) -> T {
        var value: T?
        try read(name, into: &value)
        guard let value else { throw FormError("\(name) is missing") }
        return value
    }
}

// MARK: Plain values

extension String: JSONCodable {
    package var json: JSON { .string(self) }
    package init(json: JSON) throws(FormError) {
        guard let text = json.text else { throw FormError("must be a string") }
        self = text
    }
}
extension Bool: JSONCodable {
    package var json: JSON { .bool(self) }
    package init(json: JSON) throws(FormError) {
        guard let flag = json.flag else { throw FormError("must be true or false") }
        self = flag
    }
}
extension JSONCodable where Self: FixedWidthInteger {
    package var json: JSON { .int(self) }
    package init(json: JSON) throws(FormError) {
        guard let number = json.integer(Self.self) else { throw FormError("must be an integer of \(Self.bitWidth) bits") }
        self = number
    }
}
extension Int: JSONCodable {}
extension Int64: JSONCodable {}
extension UInt64: JSONCodable {}
extension Double: JSONCodable {
    package var json: JSON { .double(self) }
    package init(json: JSON) throws(FormError) {
        guard let number = json.double else { throw FormError("must be a number") }
        self = number
    }
}
extension Array: JSONCodable where Element: JSONCodable {
    package var json: JSON { .array(map(\.json)) }
    package init(json: JSON) throws(FormError) {
        guard let elements = json.elements else { throw FormError("must be a list") }
        self = []
        reserveCapacity(elements.count)
        for element in elements { append(try Element(json: element)) }
    }
}
extension WallTime: JSONCodable {
    package var json: JSON { .string(rfc3339) }
    package init(json: JSON) throws(FormError) {
        let text = try String(json: json)
        guard let time = WallTime(rfc3339: text) else { throw FormError(RFC3339Fault.describe(text)) }
        self = time
    }
}

// MARK: Names

extension CID: JSONCodable {
    package var json: JSON { .string(description) }
    package init(json: JSON) throws(FormError) {
        let text = try String(json: json)
        do { try self.init(text: text) } catch { throw FormError(error.aboutCID) }
    }
}
extension PeerID: JSONCodable {
    package var json: JSON { .string(description) }
    package init(json: JSON) throws(FormError) {
        let text = try String(json: json)
        do { try self.init(text: text) } catch { throw FormError(error.aboutPeer(text)) }
    }
}
extension Multiaddr: JSONCodable {
    package var json: JSON { .string(description) }
    package init(json: JSON) throws(FormError) {
        let text = try String(json: json)
        do { try self.init(text: text) } catch { throw FormError("failed to parse multiaddr \(quoted(text)): \(error)") }
    }
}
extension PinType: JSONCodable {
    package var json: JSON { .string(text) }
    package init(json: JSON) throws(FormError) { self.init(text: try String(json: json)) }
}
extension PinMode: JSONCodable {
    package var json: JSON { .string(text) }
    package init(json: JSON) throws(FormError) { self.init(text: try String(json: json)) }
}
extension TrackerStatus: JSONCodable {
    package var json: JSON { .string(text) }
    package init(json: JSON) throws(FormError) { self.init(text: try String(json: json)) }
}

// MARK: Maps

extension Metadata: JSONCodable {
    package var json: JSON { .object(pairs.map { JSON.Member($0.key, $0.value) }) }
    package init(json: JSON) throws(FormError) {
        guard case .object(let members) = json else { throw FormError("must be an object of strings") }
        self.init()
        for member in members {
            do { self[member.name] = member.value == .null ? "" : try String(json: member.value) } catch {
                throw error.at(member.name)
            }
        }
    }
}
/// Keys in the order of their text, as Go prints them, not in that of their bytes.
extension SortedMap: JSONCodable where Key == PeerID, Value: JSONCodable {
    package var json: JSON {
        let members = map { JSON.Member($0.key.description, $0.value.json) }
        return .object(members.sorted { precedes($0.name.utf8, $1.name.utf8) })
    }
    package init(json: JSON) throws(FormError) {
        guard case .object(let members) = json else { throw FormError("must be an object with peer IDs as keys") }
        self.init()
        for member in members {
            let peer = try PeerID(json: .string(member.name))
            do { self[peer] = try Value(json: member.value) } catch { throw error.at(member.name) }
        }
    }
}
