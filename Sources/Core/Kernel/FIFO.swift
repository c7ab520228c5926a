/// A queue whose front is taken without moving the rest each time.
package struct FIFO<Element: Sendable>: Sendable {
    private var items: [Element] = []
    private var head = 0

    package init() {}
    package var isEmpty: Bool { head == items.count }
    package var count: Int { items.count - head }
    package var first: Element? { isEmpty ? nil : items[head] }

    package mutating func append(_ item: Element) { items.append(item) }

    @discardableResult
    package mutating func popFirst() -> Element? {
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

    package mutating func removeAll(where isUnwanted: (Element) -> Bool) {
        items.removeSubrange(..<head)
        head = 0
        items.removeAll(where: isUnwanted)
    }
}
