// The forms a value has: in JSON, in the environment, and as it is used. CFG-016..031.

import Encoding
import Kernel
import Multiformats

extension Key.Kind {
    /// A kind's form in JSON, before anything is made of it: a duration is a text there.
    fileprivate enum Shape {
        case text, flag, int, unsigned(Int), real, texts, textOrTexts, reals, map, lists, objects([Key])
    }

    fileprivate var shape: Shape {
        switch self {
        case .text, .span, .address, .secret, .peerID, .privateKey, .choice, .size: .text
        case .flag: .flag
        case .int, .nanoseconds: .int
        case .unsigned(_, let bits): .unsigned(bits)
        case .real: .real
        case .addresses: .textOrTexts
        case .addressList, .texts, .trustedPeers, .readablePeers: .texts
        case .reals: .reals
        case .map: .map
        case .lists: .lists
        case .objects(let keys): .objects(keys)
        }
    }

    /// Go's name, for error texts.
    fileprivate var typeName: String {
        switch self {
        case .text, .span, .address, .secret, .peerID, .privateKey, .choice, .size: "string"
        case .flag: "bool"
        case .int(let name): name
        case .nanoseconds: "time.Duration"
        case .unsigned(let name, _): name
        case .real: "float64"
        case .addresses: "config.Strings"
        case .addressList, .texts, .trustedPeers, .readablePeers: "[]string"
        case .reals: "[]float64"
        case .map: "map[string]string"
        case .lists: "map[string][]string"
        case .objects: "list of objects"
        }
    }
}

// MARK: From JSON

extension Key {
    /// The raw value, in the key's JSON form. Nil for an absent value or `null`.
    func raw(_ json: JSON?, in component: ComponentName) throws(ConfigurationError) -> Value? {
        guard let json, json != .null else { return nil }
        guard let value = try Key.raw(json, kind, "\(component.rawValue).\(path)") else {
            let place = "\(component.rawValue).\(path)"
            throw ConfigurationError("json: cannot unmarshal \(json.noun) into \(place) of type \(kind.typeName)")
        }
        return value
    }

    private static func raw(_ json: JSON, _ kind: Kind, _ place: String) throws(ConfigurationError) -> Value? {
        switch kind.shape {
        case .text: return json.text.map(Value.text)
        case .flag: return json.flag.map(Value.flag)
        case .int: return json.integer(Int64.self).map(Value.int)
        case .unsigned(let bits):
            guard let value = json.integer(UInt64.self), bits == 64 || value < 1 << UInt64(bits) else { return nil }
            return .unsigned(value)
        case .real: return json.real.map(Value.real)
        case .texts: return json.texts.map(Value.texts)
        case .textOrTexts: return (json.text.map { $0.isEmpty ? [] : [$0] } ?? json.texts).map(Value.texts)
        case .reals:
            guard let items = json.elements else { return nil }
            let reals = items.compactMap(\.real)
            return reals.count == items.count ? .reals(reals) : nil
        case .map: return json.members(\.text).map(Value.map)
        case .lists: return json.members { $0 == .null ? [] : $0.texts }.map(Value.lists)
        case .objects(let keys):
            guard let items = json.elements else { return nil }
            var objects: [[Value]] = []
            for (index, item) in items.enumerated() {
                guard case .object = item else { return nil }
                var values: [Value] = []
                for key in keys {
                    guard let inner = item[key.path], inner != .null else { values.append(key.kind.zeroValue); continue }
                    guard let value = try raw(inner, key.kind, place) else {
                        throw ConfigurationError(
                            "json: cannot unmarshal \(inner.noun) into \(place).\(index).\(key.path) of type \(key.kind.typeName)")
                    }
                    values.append(value)
                }
                objects.append(values)
            }
            return .objects(objects)
        }
    }
}

extension Key.Kind {
    /// What Go's decoder leaves where nothing is written.
    var zeroValue: Value {
        switch shape {
        case .text: .text("")
        case .flag: .flag(false)
        case .int: .int(0)
        case .unsigned: .unsigned(0)
        case .real: .real(0)
        case .texts: .texts(nil)
        case .textOrTexts: .texts([])
        case .reals: .reals(nil)
        case .map: .map(nil)
        case .lists: .lists(nil)
        case .objects: .objects([])
        }
    }
}

extension JSON {
    fileprivate var noun: String {
        switch self {
        case .null: "null"
        case .bool: "bool"
        case .number(let text): text.allSatisfy { $0.isNumber || $0 == "-" } ? "number" : "number \(text)"
        case .string: "string"
        case .array: "array"
        case .object: "object"
        }
    }
    fileprivate var real: Double? { if case .number(let text) = self { Double(text) } else { nil } }
    /// Null elements are empty texts, as Go leaves them.
    fileprivate var texts: [String]? {
        guard let items = elements else { return nil }
        let texts = items.compactMap { $0 == .null ? "" : $0.text }
        return texts.count == items.count ? texts : nil
    }
    /// By name, the last of equal names; nil where a member is of the wrong type.
    fileprivate func members<Item>(_ read: (JSON) -> Item?) -> [Value.Named<Item>]? {
        guard case .object(let members) = self else { return nil }
        var found = SortedMap<String, Item>()
        for member in members {
            guard let item = read(member.value) else { return nil }
            found[member.name] = item
        }
        return found.map { Value.Named($0.key, $0.value) }
    }
}

// MARK: From the environment

extension Key {
    /// The raw value that the text of a variable stands for.
    func raw(environment text: String, name: String) throws(ConfigurationError) -> Value {
        do throws(ConfigurationError) { return try Key.raw(environment: text, kind) } catch {
            throw ConfigurationError(
                "envconfig.Process: assigning \(name) to \(fieldName): converting '\(isHidden ? "hidden" : text)' to type "
                    + "\(kind.typeName). details: \(isHidden ? "invalid value" : error.description)")
        }
    }

    private static func raw(environment text: String, _ kind: Kind) throws(ConfigurationError) -> Value {
        let isBlank = text.allSatisfy(\.isWhitespace)
        let words = isBlank ? [] : text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        switch kind.shape {
        case .text: return .text(text)
        case .flag:
            guard let value = boolean(goText: text) else { throw unparsed("ParseBool", text, .syntax) }
            return .flag(value)
        case .int:
            if case .nanoseconds = kind {
                do throws(DurationError) { return .int(try Span(goText: text).nanoseconds) } catch {
                    throw ConfigurationError(error.description)
                }
            }
            do throws(NumberTextError) { return .int(try integer(goText: text)) } catch {
                throw unparsed("ParseInt", text, error)
            }
        case .unsigned(let bits):
            do throws(NumberTextError) {
                let value: UInt64 = try integer(goText: text)
                guard bits == 64 || value < 1 << UInt64(bits) else { throw .range }
                return .unsigned(value)
            } catch { throw unparsed("ParseUint", text, error) }
        case .real:
            return .real(try parsedReal(text))
        case .texts, .textOrTexts: return .texts(words)
        case .reals:
            var reals: [Double] = []
            for word in words { reals.append(try parsedReal(word)) }
            return .reals(reals)
        case .map: return .map(try pairs(words).map { Value.Named($0.key, $0.value) })
        case .lists:
            let lists = try pairs(words)
            return .lists(lists.map { Value.Named($0.key, $0.value.allSatisfy(\.isWhitespace) ? [] : [$0.value]) })
        case .objects: unreachable("lists of objects have no variable (CFG-033)")
        }
    }

    private static func parsedReal(_ text: String) throws(ConfigurationError) -> Double {
        do throws(NumberTextError) { return try float(goText: text) } catch { throw unparsed("ParseFloat", text, error) }
    }

    private static func pairs(_ words: [String]) throws(ConfigurationError) -> SortedMap<String, String> {
        var found = SortedMap<String, String>()
        for word in words {
            let parts = word.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2 else { throw ConfigurationError("invalid map item: \(quoted(word))") }
            found[parts[0]] = parts[1]
        }
        return found
    }

    private static func unparsed(_ function: String, _ text: String, _ error: NumberTextError) -> ConfigurationError {
        ConfigurationError("strconv.\(function): parsing \(quoted(text)): \(error)")
    }
}

func quoted(_ text: String) -> String {
    var out: Bytes = []
    JSON.writeString(text, to: &out)
    return String(decoding: out, as: UTF8.self)
}

// MARK: To JSON

extension Key {
    /// The JSON form of a value in use.
    func json(_ value: Value) -> JSON {
        switch value {
        case .text(let value): .string(value)
        case .flag(let value): .bool(value)
        case .int(let value): .int(value)
        case .unsigned(let value): .int(value)
        case .real(let value): .number(goText(value))
        case .span(let value): .string(value.goText)
        case .addresses(let value): json(addresses: value.map(\.description))
        case .texts(let value): .strings(value)
        case .reals(let value): value.map { .array($0.map { .number(goText($0)) }) } ?? .null
        case .map(let value): value.map { .object($0.map { JSON.Member($0.name, .string($0.item)) }) } ?? .null
        case .lists(let value): value.map { .object($0.map { JSON.Member($0.name, .strings($0.item)) }) } ?? .null
        case .objects(let value): .array(value.map(json(object:)))
        }
    }

    private func json(addresses: [String]) -> JSON {
        switch kind {
        case .address: .string(addresses.first ?? "")
        case .addresses where addresses.count == 1: .string(addresses[0])
        default: .strings(addresses)
        }
    }

    private func json(object: [Value]) -> JSON {
        guard case .objects(let keys) = kind else { unreachable("\(path) holds no objects") }
        return .object(zip(keys, object).map { JSON.Member($0.path, $0.json($1)) })
    }

    func isShown(_ value: Value) -> Bool {
        switch shown {
        case .always: true
        case .unlessZero: !value.isZero
        case .unlessInitial: value != initial
        }
    }
}
