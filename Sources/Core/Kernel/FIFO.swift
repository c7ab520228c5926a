/// A queue whose front is taken without moving the rest each time.
public struct FIFO<Element: Sendable>: Sendable {
    @usableFromInline var items: [Element] = []
    @usableFromInline var head = 0

    @inlinable public init() {}
    @inlinable public var isEmpty: Bool { head == items.count }
    @inlinable public var count: Int { items.count - head }
    @inlinable public var first: Element? { isEmpty ? nil : items[head] }

    @inlinable public func count(where isWanted: (Element) -> Bool) -> Int { items[head...].count(where: isWanted) }
    @inlinable public mutating func append(_ item: Element) { items.append(item) }

    @discardableResult
    @inlinable public mutating func popFirst() -> Element? {
        guard head < items.count else { return nil }
        defer {
            head += 1
            if head > 64 && head * 2 > items.count {
                items.removeSubrange(..<head)
                head = 0
            }
        }
        return items[head]
    }

    @inlinable public mutating func removeAll(where isUnwanted: (Element) -> Bool) {
        items.removeSubrange(..<head)
        head = 0
        items.removeAll(where: isUnwanted)
    }
}
