// Why content could not be imported or read. The texts are upstream's where it has one.

package struct AddError: Error, Equatable, Sendable, CustomStringConvertible {
    package let message: String
    package init(_ message: String) { self.message = message }
    package var description: String { message }
}
