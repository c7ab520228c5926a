// The only maps that the core iterates: their order is that of the keys, in every process. Inlinable, so that other modules
// get them made for their types: code that asks for its types as it runs is ten times slower.

/// A map in key order. Sorted runs of at most `runLimit` entries; lookup O(log n), insertion and removal
/// O(runLimit + n / runLimit) moves, iteration O(n).
public struct SortedMap<Key: Comparable, Value> {
    @usableFromInline static var runLimit: Int { 256 }
    @usableFromInline struct Run {
        @usableFromInline var keys: [Key]
        @usableFromInline var values: [Value]
        @inlinable init(keys: [Key], values: [Value]) { self.keys = keys; self.values = values }
    }
    @usableFromInline var runs: [Run] = []
    @usableFromInline var entryCount = 0

    @inlinable public init() {}
    @inlinable public var count: Int { entryCount }
    @inlinable public init(_ pairs: some Sequence<(Key, Value)>) { for (k, v) in pairs { self[k] = v } }
    @inlinable public var isEmpty: Bool { count == 0 }

    /// Index of the run that holds or would hold the key.
    @inlinable func run(for key: Key) -> Int {
        var low = 0, high = runs.count
        while low < high {
            let middle = (low + high) / 2
            if runs[middle].keys[runs[middle].keys.count - 1] < key { low = middle + 1 } else { high = middle }
        }
        return low
    }

    @inlinable func position(of key: Key, in keys: [Key]) -> (index: Int, found: Bool) {
        var low = 0, high = keys.count
        while low < high {
            let middle = (low + high) / 2
            if keys[middle] < key { low = middle + 1 } else { high = middle }
        }
        return (low, low < keys.count && keys[low] == key)
    }

    @inlinable public subscript(key: Key) -> Value? {
        get {
            let r = run(for: key)
            guard r < runs.count else { return nil }
            let (i, found) = position(of: key, in: runs[r].keys)
            return found ? runs[r].values[i] : nil
        }
        set {
            if let newValue { update(key, newValue) } else { remove(key) }
        }
        _modify {
            let r = run(for: key)
            if r < runs.count, runs[r].keys.count > 1, case (let i, true) = position(of: key, in: runs[r].keys) {
                // Taken out while it is changed, so that nothing of it is shared and copied, and put back where it was.
                var value: Value? = runs[r].values.withUnsafeMutableBufferPointer { values in
                    values.baseAddress.map { ($0 + i).move() }
                }
                defer {
                    runs[r].values.withUnsafeMutableBufferPointer { values in
                        if let base = values.baseAddress { (base + i).initialize(to: value ?? base[i == 0 ? 1 : 0]) }
                    }
                    if value == nil { remove(key) }
                }
                yield &value
            } else if r < runs.count, runs[r].keys[0] == key {
                // Alone in its run, which stays for it.
                var value: Value? = runs[r].values.removeLast()
                defer {
                    if let value { runs[r].values.append(value) } else {
                        runs.remove(at: r)
                        entryCount -= 1
                    }
                }
                yield &value
            } else {
                var value: Value?
                defer { if let value { update(key, value) } }
                yield &value
            }
        }
    }

    @inlinable public subscript(key: Key, default fallback: @autoclosure () -> Value) -> Value {
        get { self[key] ?? fallback() }
        _modify {
            var r = run(for: key)
            if r == runs.count || !position(of: key, in: runs[r].keys).found {
                update(key, fallback())
                r = run(for: key)
            }
            let i = position(of: key, in: runs[r].keys).index
            yield &runs[r].values[i]
        }
    }

    @inlinable mutating func update(_ key: Key, _ value: Value) {
        if runs.isEmpty { runs.append(Run(keys: [key], values: [value])); entryCount = 1; return }
        let r = Swift.min(run(for: key), runs.count - 1)
        let (i, found) = position(of: key, in: runs[r].keys)
        if found { runs[r].values[i] = value; return }
        runs[r].keys.insert(key, at: i)
        runs[r].values.insert(value, at: i)
        entryCount += 1
        if runs[r].keys.count > Self.runLimit { split(r) }
    }

    @inlinable mutating func split(_ r: Int) {
        let half = runs[r].keys.count / 2
        let tail = Run(keys: Array(runs[r].keys[half...]), values: Array(runs[r].values[half...]))
        runs[r].keys.removeSubrange(half...)
        runs[r].values.removeSubrange(half...)
        runs.insert(tail, at: r + 1)
    }

    @discardableResult
    @inlinable public mutating func remove(_ key: Key) -> Value? {
        let r = run(for: key)
        guard r < runs.count else { return nil }
        let (i, found) = position(of: key, in: runs[r].keys)
        guard found else { return nil }
        runs[r].keys.remove(at: i)
        let value = runs[r].values.remove(at: i)
        if runs[r].keys.isEmpty { runs.remove(at: r) }
        entryCount -= 1
        return value
    }

    @inlinable public mutating func removeAll() { runs = []; entryCount = 0 }

    /// What is to be known of a value, without a copy of all of it; nil where there is none.
    @inlinable public func look<T>(at key: Key, _ body: (Value) -> T) -> T? {
        let r = run(for: key)
        guard r < runs.count, case (let i, true) = position(of: key, in: runs[r].keys) else { return nil }
        return runs[r].values.withUnsafeBufferPointer { body($0[i]) }
    }

    /// In order, without a copy of each.
    @inlinable public func each(_ body: (Key, Value) -> Void) {
        for run in runs {
            run.values.withUnsafeBufferPointer { values in
                run.keys.withUnsafeBufferPointer { keys in for index in keys.indices { body(keys[index], values[index]) } }
            }
        }
    }

    // Not by key paths: in a generic type they are put together anew at every call.
    @inlinable public var keys: [Key] { runs.flatMap { $0.keys } }
    @inlinable public var values: [Value] { runs.flatMap { $0.values } }
    @inlinable public var first: (key: Key, value: Value)? { runs.first.map { ($0.keys[0], $0.values[0]) } }
    @inlinable public var last: (key: Key, value: Value)? {
        runs.last.map { ($0.keys[$0.keys.count - 1], $0.values[$0.values.count - 1]) }
    }

    /// The first entry whose key is at least `key`; or greater, with `after`.
    @inlinable public func first(from key: Key) -> (key: Key, value: Value)? { entry(from: key, inclusive: true) }
    @inlinable public func first(after key: Key) -> (key: Key, value: Value)? { entry(from: key, inclusive: false) }

    @inlinable func entry(from key: Key, inclusive: Bool) -> (key: Key, value: Value)? {
        var r = run(for: key)
        guard r < runs.count else { return nil }
        var (i, found) = position(of: key, in: runs[r].keys)
        if found && !inclusive { i += 1 }
        if i == runs[r].keys.count { r += 1; i = 0 }
        return r < runs.count ? (runs[r].keys[i], runs[r].values[i]) : nil
    }
}

extension SortedMap: Sequence {
    public struct Iterator: IteratorProtocol {
        @usableFromInline let map: SortedMap
        @usableFromInline var run = 0
        @usableFromInline var index = 0
        @inlinable init(map: SortedMap) { self.map = map }
        @inlinable public mutating func next() -> (key: Key, value: Value)? {
            guard run < map.runs.count else { return nil }
            let entry = (map.runs[run].keys[index], map.runs[run].values[index])
            index += 1
            if index == map.runs[run].keys.count { run += 1; index = 0 }
            return (entry.0, entry.1)
        }
    }
    @inlinable public func makeIterator() -> Iterator { Iterator(map: self) }
    @inlinable public var underestimatedCount: Int { count }
}

extension SortedMap.Run: Sendable where Key: Sendable, Value: Sendable {}
extension SortedMap: Sendable where Key: Sendable, Value: Sendable {}
extension SortedMap: Equatable where Value: Equatable {
    @inlinable public static func == (a: Self, b: Self) -> Bool {
        a.count == b.count && zip(a, b).allSatisfy { $0.key == $1.key && $0.value == $1.value }
    }
}

/// A set in the order of its members.
public struct SortedSet<Element: Comparable> {
    @usableFromInline var map = SortedMap<Element, Void>()
    @inlinable public init() {}
    @inlinable public init(_ elements: some Sequence<Element>) { for e in elements { insert(e) } }
    @inlinable public var count: Int { map.count }
    @inlinable public var isEmpty: Bool { map.isEmpty }
    @inlinable public func contains(_ element: Element) -> Bool { map[element] != nil }
    /// True if it was not there before.
    @discardableResult
    @inlinable public mutating func insert(_ element: Element) -> Bool {
        let before = map.count
        map[element] = ()
        return map.count > before
    }
    @discardableResult
    @inlinable public mutating func remove(_ element: Element) -> Bool { map.remove(element) != nil }
    @inlinable public mutating func removeAll() { map.removeAll() }
    @inlinable public var elements: [Element] { map.keys }
    @inlinable public var first: Element? { map.first?.key }
}
extension SortedSet: Sequence {
    public struct Iterator: IteratorProtocol {
        @usableFromInline var base: SortedMap<Element, Void>.Iterator
        @inlinable init(base: SortedMap<Element, Void>.Iterator) { self.base = base }
        @inlinable public mutating func next() -> Element? { base.next()?.key }
    }
    @inlinable public func makeIterator() -> Iterator { Iterator(base: map.makeIterator()) }
}
extension SortedSet: Sendable where Element: Sendable {}
extension SortedSet: Equatable {
    @inlinable public static func == (a: Self, b: Self) -> Bool { a.elements == b.elements }
}
