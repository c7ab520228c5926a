// Of most things there is one: it takes no memory of its own.

/// An array whose first element is in place. `append` allocates from the second on.
public struct Few<Element>: RandomAccessCollection, ExpressibleByArrayLiteral {
    public var one: Element?
    public var rest: [Element]

    @inlinable @inline(__always)
    public init() { (one, rest) = (nil, []) }
    @inlinable @inline(__always)
    public init(one: Element?) { (self.one, rest) = (one, []) }
    @inlinable
    public init(arrayLiteral elements: Element...) { (one, rest) = (elements.first, Array(elements.dropFirst())) }
    @inlinable
    public init(_ elements: some Sequence<Element>) {
        self.init()
        for element in elements { append(element) }
    }

    @inlinable @inline(__always)
    public var startIndex: Int { 0 }
    @inlinable @inline(__always)
    public var endIndex: Int { one == nil ? 0 : 1 + rest.count }
    @inlinable @inline(__always)
    public subscript(index: Int) -> Element {
        if index == 0, let one { return one }
        return rest[index - 1]
    }

    @inlinable @inline(__always)
    public mutating func append(_ element: Element) {
        if one == nil { one = element } else { rest.append(element) }
    }
}

extension Few: Sendable where Element: Sendable {}
extension Few: Equatable where Element: Equatable {}
